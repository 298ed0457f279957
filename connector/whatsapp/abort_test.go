package whatsapp

import (
	"errors"
	"net/http"
	"testing"

	"cloudsession/connector/watest"
)

// A session that is somebody else's closes its socket first: it waits for no
// running send, and the send ends as one of unknown outcome.
func TestAbortClosesTheSocketFirst(t *testing.T) {
	w := newWorld(t)
	c := w.pairQR()
	c.send(w.other.PN(), "hello")
	device := c.jid()
	rule := w.service.Faults().Drop(&device, watest.FromDevice, watest.Tag("message"))
	defer rule.Remove()
	sent := make(chan error, 1)
	go func() {
		_, err := c.Send(testContext(t), w.other.PN().String(), "never answered", "")
		sent <- err
	}()
	w.wait("the send is under way", func() bool { return rule.Hits() > 0 })

	if err := c.Abort(testContext(t)); err != nil {
		t.Fatal(err)
	}
	w.wait("socket closed", func() bool { return w.service.Device(device).Sockets == 0 })
	if err := <-sent; !errors.As(err, new(*UnfinishedError)) {
		t.Errorf("the send ended with %v", err)
	}
	if c.handle(textEvent(w, "late")) {
		t.Error("the handler took a message after Abort")
	}
	if err := errors.Join(c.Abort(testContext(t)), c.Stop(testContext(t))); err != nil {
		t.Errorf("a second end: %v", err)
	}
}

// A Stop that waits for a send doesn't go on waiting once the session is lost.
func TestAbortCutsStopShort(t *testing.T) {
	w := newWorld(t)
	c := w.pairQR()
	device := c.jid()
	rule := w.service.Faults().Drop(&device, watest.FromDevice, watest.Tag("message"))
	defer rule.Remove()
	sent := make(chan error, 1)
	go func() {
		_, err := c.Send(testContext(t), w.other.PN().String(), "never answered", "")
		sent <- err
	}()
	w.wait("the send is under way", func() bool { return rule.Hits() > 0 })
	stopped := make(chan error, 1)
	go func() { stopped <- c.Stop(testContext(t)) }()
	<-c.stopped
	if err := c.Abort(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if err := <-sent; !errors.As(err, new(*UnfinishedError)) {
		t.Errorf("the send ended with %v", err)
	}
}

// Abort doesn't wait for a connection that is being made: it is cut, and the
// login it was for does not come about.
func TestAbortCutsALoginThatIsUnderWay(t *testing.T) {
	w := newWorld(t)
	// Nothing but the end of its context cuts the connection.
	w.endpoint.httpClient().Transport.(*http.Transport).ResponseHeaderTimeout = 2 * patience
	paired := w.pairQR()
	device := paired.jid()
	paired.close()
	c := w.open(paired.path)
	c.cfg.Grace.HangUp = 2 * patience
	logins := w.service.Device(device).Logins
	rule := w.service.Faults().HoldConnects()
	defer rule.Remove()
	connected := make(chan error, 1)
	go func() { connected <- c.Connect(testContext(t), false) }()
	w.wait("the service is asked for a socket", func() bool { return rule.Hits() > 0 })

	aborted := make(chan error, 1)
	go func() { aborted <- c.Abort(testContext(t)) }()
	select {
	case <-c.ctx.Done():
	case <-testContext(t).Done():
		t.Error("Abort waits for the connection")
	}
	rule.Remove()
	if err := <-aborted; err != nil {
		t.Error(err)
	}
	if err := <-connected; !errors.Is(err, ErrStopped) {
		t.Errorf("connect ended with %v", err)
	}
	if now := w.service.Device(device).Logins; now != logins {
		t.Error("the session logged in after it was lost")
	}
}
