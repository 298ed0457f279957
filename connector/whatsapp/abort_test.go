package whatsapp

import (
	"errors"
	"testing"
	"time"

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

	began := time.Now()
	if err := c.Abort(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took >= sendGrace {
		t.Errorf("Abort took %s: it waited for the send", took)
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
	began, stopped := time.Now(), make(chan error, 1)
	go func() { stopped <- c.Stop(testContext(t)) }()
	<-c.stopped
	if err := c.Abort(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took >= sendGrace {
		t.Errorf("Stop took %s", took)
	}
	if err := <-sent; !errors.As(err, new(*UnfinishedError)) {
		t.Errorf("the send ended with %v", err)
	}
}
