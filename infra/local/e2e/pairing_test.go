package e2e

import (
	"context"
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"

	"cloudsession/connector/control"
)

// A connector that dies while it shows a QR code leaves nothing that stands in
// the way: the session can be paired afterwards, here and elsewhere.
func TestKillWhilePairing(t *testing.T) {
	s := newScene(t)
	c := s.connector("c")
	ctx, cancel := context.WithCancel(s.ctx)
	shown := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		first := true
		ended <- c.Client.Pair(ctx, s.session, control.PairRequest{}, func(e control.PairEvent) error {
			if first && e.Kind == "qr" {
				first = false
				close(shown)
			}
			return nil
		})
	}()
	select {
	case <-shown:
	case <-s.ctx.Done():
		t.Fatal("no QR code was shown")
	}
	s.must(c.Kill9())
	cancel()
	if err := <-ended; err == nil {
		t.Error("a pairing whose connector died ended well")
	}

	again := s.connectorIn(c.ID(), c.DataDir())
	s.must(again.Pair(s.ctx, s.session, s.owner))
	s.talk(again)
	s.nothingLost(again)
}

// The phone scans, and the connector is told to stop before the pairing has
// ended: the link is kept.
func TestStopRightAfterTheScan(t *testing.T) {
	s := newScene(t)
	c := s.connector("c")
	err := c.Client.Pair(s.ctx, s.session, control.PairRequest{}, func(e control.PairEvent) error {
		if e.Kind != "qr" {
			return nil
		}
		if _, err := s.owner.ScanQR(s.ctx, e.QR); err != nil {
			return err
		}
		return c.Stop(stopTime)
	})
	t.Logf("pairing ended: %v", err)
	again := s.connectorIn(c.ID(), c.DataDir())
	_, err = again.Open(s.ctx, s.session)
	s.must(err)
	s.talk(again)
	if n := len(s.owner.Devices()); n != 1 {
		t.Errorf("the phone has %d linked devices, want 1", n)
	}
	s.nothingLost(again)
}

// A deleted session that nobody holds is as new: it can be paired again. Whoever
// reads its messages goes on behind the last one he saw.
func TestPairAfterDeletingAFreeSession(t *testing.T) {
	s := newScene(t)
	c := s.paired("c")
	var last int64
	for range 2 {
		s.hears(c)
	}
	s.must(c.Messages(s.ctx, s.session, 0, false, func(m control.Message) error {
		last = m.Seq
		return nil
	}))
	s.must(c.Close(s.ctx, s.session))
	s.call(http.StatusOK, http.MethodDelete, "")
	if _, err := c.Open(s.ctx, s.session); err == nil || !strings.Contains(err.Error(), "no such session") {
		t.Errorf("open of a deleted session: %v", err)
	}
	s.must(c.Pair(s.ctx, s.session, s.owner))
	s.talk(c)
	var shown []string
	s.must(c.Messages(s.ctx, s.session, last, false, func(m control.Message) error {
		shown = append(shown, m.Text)
		return nil
	}))
	if len(shown) != 1 {
		t.Errorf("what came in since, after number %d: %q, want one text", last, shown)
	}
	s.call(http.StatusOK, http.MethodGet, "/status")
	s.nothingLost(c)
}

// A session whose cloud copy was deleted survives a clean stop and a crash on
// this machine, since nobody else has it.
func TestRestartAfterDelete(t *testing.T) {
	s := newScene(t)
	c := s.paired("c")
	s.talk(c)
	s.call(http.StatusOK, http.MethodDelete, "")
	s.must(c.Stop(stopTime))
	again := s.connectorIn(c.ID(), c.DataDir())
	s.must(again.WaitState(s.ctx, s.session, "connected"))
	s.talk(again)
	s.must(again.Kill9())
	third := s.connectorIn(c.ID(), c.DataDir())
	s.must(third.WaitState(s.ctx, s.session, "connected"))
	s.talk(third)
	s.call(http.StatusOK, http.MethodPost, "/sync")
	s.must(third.Kill9())
	s.must(os.RemoveAll(third.DataDir()))
	other := s.connector("other")
	s.restore()
	s.talk(other)
	s.nothingLost(other)
}

// A session opened by hand comes back after a crash like any other.
func TestOpenedByHandComesBack(t *testing.T) {
	s := newScene(t)
	c := s.paired("c")
	s.must(c.Close(s.ctx, s.session))
	_, err := c.Open(s.ctx, s.session)
	s.must(err)
	s.talk(c)
	s.must(c.Kill9())
	again := s.connectorIn(c.ID(), c.DataDir())
	s.must(again.WaitState(s.ctx, s.session, "connected"))
	s.talk(again)
	s.nothingLost(again)
}

// A follower of the messages goes on over a reload.
func TestFollowOverAReload(t *testing.T) {
	s := newScene(t)
	c := s.paired("c")
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	texts := make(chan string, 100)
	ended := make(chan error, 1)
	go func() {
		ended <- c.Messages(ctx, s.session, 0, true, func(m control.Message) error {
			texts <- m.Text
			return nil
		})
	}()
	expect := func(want string) {
		t.Helper()
		select {
		case got := <-texts:
			if got != want {
				t.Errorf("the follower got %q, want %q", got, want)
			}
		case err := <-ended:
			t.Fatalf("the follower ended: %v", err)
		case <-s.ctx.Done():
			t.Fatalf("the follower never got %q", want)
		}
	}
	expect(s.peerWrites())
	s.restore()
	expect(s.peerWrites())
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the follower ended with %v", err)
	}
}

// Another client uses the same keys (O8): the session is restored safely, and
// after the fight has gone on for a while it is left alone and says so.
func TestReplacedByAClone(t *testing.T) {
	s := newScene(t)
	c := s.paired("c")
	s.talk(c)
	s.waitPushed(c)
	device := s.owner.Devices()[0]
	if n := world.WhatsApp.Faults().Replace(&device); n != 1 {
		t.Fatalf("%d sockets were told that they are replaced, want 1", n)
	}
	s.must(c.WaitState(s.ctx, s.session, "restored safely"))
	s.talk(c)
	s.nothingLost(c)
}
