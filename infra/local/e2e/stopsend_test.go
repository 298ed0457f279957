package e2e

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	waBinary "go.mau.fi/whatsmeow/binary"

	"cloudsession/connector/control"
	"cloudsession/connector/watest"
)

// sendsGrace is how long a session that is closed waits for its running sends (O6).
const sendsGrace = 5 * time.Second

// sendUnderWay begins a send and returns when the service has the message and keeps
// its ack back; answer gives what its caller is told in the end.
func (s *scene) sendUnderWay(c *rigConnector) (acks *watest.Rule, answer func() (control.Sent, error)) {
	s.t.Helper()
	device := s.device()
	acks = world.WhatsApp.Faults().Hold(&device, watest.ToDevice, func(n *waBinary.Node) bool {
		return n.Tag == "ack" && n.Attrs["class"] == "message"
	})
	s.t.Cleanup(acks.Remove)
	var sent control.Sent
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		sent, err = c.Send(s.ctx, s.session, control.SendRequest{To: s.peer.PN().String(), Text: "under way", Key: "under way"})
	}()
	s.wait("the message to reach the service", func() bool { return acks.Hits() > 0 })
	return acks, func() (control.Sent, error) { <-done; return sent, err }
}

// SIGTERM while a send is under way: the connector waits for the ack, and who sends is
// told. What follows messages ends meanwhile, and is told why.
func TestStopWaitsForASend(t *testing.T) {
	s := newScene(t)
	c := s.paired("c")
	s.talk(c)
	followed := make(chan error, 1)
	listening := make(chan struct{})
	go func() {
		first := true
		followed <- c.Messages(s.ctx, s.session, 0, true, func(control.Message) error {
			if first {
				close(listening)
			}
			first = false
			return nil
		})
	}()
	<-listening
	acks, answer := s.sendUnderWay(c)

	began := time.Now()
	stopped := make(chan error, 1)
	go func() { stopped <- c.Stop(stopTime) }()
	if err := <-followed; err == nil || !strings.Contains(err.Error(), "connector is stopping") {
		t.Errorf("who follows messages was told %v", err)
	}
	s.wait("the local socket to be closed", func() bool { return errors.Is(c.Health(s.ctx), control.ErrNotRunning) })
	acks.Remove()
	took := time.Since(began)

	sent, err := answer()
	if took < sendsGrace-time.Second && (err != nil || sent.ID == "") { // else a slow machine has used the grace up
		t.Errorf("the ack came %v after the signal, and who sends was told %+v, %v", took, sent, err)
	}
	if err := <-stopped; err != nil && took < sendsGrace-time.Second {
		t.Errorf("the connector ended with %v", err)
	}
	again := s.connectorIn(c.ID(), c.DataDir())
	s.must(again.WaitState(s.ctx, s.session, "connected"))
	repeated, err := again.Send(s.ctx, s.session, control.SendRequest{To: s.peer.PN().String(), Text: "under way", Key: "under way"})
	if err != nil || sent.ID != "" && repeated.ID != sent.ID {
		t.Errorf("repeated under its key: %+v, %v; at first %+v", repeated, err, sent)
	}
	s.nothingLost(again)
}

// SIGTERM while a send is under way whose ack doesn't come: who sends is told that it
// is pending, and it is repeated under its id.
func TestStopWithoutAnAck(t *testing.T) {
	s := newScene(t)
	s.ownDatabase() // nobody takes the session over meanwhile
	c := s.paired("c", defaultStop)
	s.talk(c)
	s.waitPushed(c)
	acks, answer := s.sendUnderWay(c)
	s.endsUnclean(c)
	_, err := answer()
	told, ok := errors.AsType[*control.Error](err)
	if !ok || told.Outcome != control.OutcomePending || told.Status != http.StatusGatewayTimeout {
		t.Errorf("who sends was told %v (%+v), want that it is pending", err, told)
	}
	acks.Remove()

	again := s.connectorIn(c.ID(), c.DataDir())
	s.must(again.WaitState(s.ctx, s.session, "connected"))
	_, err = again.Send(s.ctx, s.session, control.SendRequest{To: s.peer.PN().String(), Text: "under way", Key: "under way"})
	s.must(err)
	s.nothingLost(again)
}
