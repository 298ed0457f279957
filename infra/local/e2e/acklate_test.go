package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"go.mau.fi/whatsmeow/types"

	"cloudsession/connector/control"
	"cloudsession/connector/watest"
)

// device is the session's linked device.
func (s *scene) device() types.JID {
	s.t.Helper()
	devices := s.owner.Devices()
	if len(devices) != 1 {
		s.t.Fatalf("%d linked devices", len(devices))
	}
	return devices[0]
}

// incoming counts the messages accepted for the session's device, and those it has acknowledged.
func (s *scene) incoming() (accepted, acknowledged int) {
	for _, m := range world.WhatsApp.Copies(s.device()) {
		accepted++
		if m.Confirmed {
			acknowledged++
		}
	}
	return accepted, acknowledged
}

// waitAcknowledged waits until the device has acknowledged all that was accepted for it.
func (s *scene) waitAcknowledged() {
	s.t.Helper()
	s.must(world.WhatsApp.Wait(s.ctx, func() bool {
		accepted, acknowledged := s.incoming()
		return accepted == acknowledged
	}))
}

// inboxHasAll waits until the connector's inbox holds every message that was accepted for the session.
func (s *scene) inboxHasAll(c *rigConnector) {
	s.t.Helper()
	missing := map[types.MessageID]watest.Copy{}
	for _, m := range world.WhatsApp.Copies(s.device()) {
		missing[m.ID] = m
	}
	done := fmt.Errorf("all there")
	err := c.Messages(s.ctx, s.session, 0, true, func(m control.Message) error {
		if delete(missing, m.ID); len(missing) == 0 {
			return done
		}
		return nil
	})
	for id, m := range missing {
		s.t.Errorf("message %s (acknowledged: %v) is not in the inbox: %v", id, m.Confirmed, err)
	}
}

func testSeed(t *testing.T) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("CLOUDSESSION_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("CLOUDSESSION_SEED=%d", seed)
	return seed
}

// The machine is lost, disk and all, while messages come in: every message that WhatsApp was told of is in the inbox
// of the connector that goes on, and so is everything else (A1).
func TestMachineLostWhileMessagesComeIn(t *testing.T) {
	random := rand.New(rand.NewPCG(testSeed(t), 0))
	scenes := make([]*scene, 4)
	for i := range scenes {
		scenes[i] = newScene(t)
	}
	first := scenes[0]
	c := first.connector("c")
	for _, s := range scenes {
		s.must(c.Pair(s.ctx, s.session, s.owner))
		s.talk(c)
		s.waitPushed(c)
	}

	killed := make(chan struct{})
	var senders sync.WaitGroup
	for _, s := range scenes {
		senders.Go(func() {
			for i := range 30 {
				select {
				case <-killed:
					return
				default:
				}
				if _, err := s.peer.SendText(s.ctx, s.owner.PN(), fmt.Sprint("burst ", i)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	after := 10 + random.IntN(70)
	first.must(world.WhatsApp.Wait(first.ctx, func() bool {
		total := 0
		for _, s := range scenes {
			_, acknowledged := s.incoming()
			total += acknowledged
		}
		return total >= after
	}))
	first.must(c.Kill9())
	first.must(os.RemoveAll(c.DataDir()))
	close(killed)
	senders.Wait()
	for _, s := range scenes {
		accepted, acknowledged := s.incoming()
		t.Logf("%s: %d messages accepted, %d acknowledged", s.session, accepted, acknowledged)
	}

	fresh := first.connector("fresh")
	for _, s := range scenes {
		s.restore()
		s.inboxHasAll(fresh)
		s.talk(fresh)
	}
	first.nothingLost(fresh)
}

// waitProtected waits until the session is protected.
func (s *scene) waitProtected(c *rigConnector) {
	s.t.Helper()
	s.wait("the session to be protected", func() bool { return s.mine(c).Unprotected == "" })
}

// TiDB goes away: one message waits for it, the others don't; the session says that it is unprotected, and is
// protected again once everything is pushed.
func TestMessagesWhileTheDatabaseIsAway(t *testing.T) {
	s := newScene(t)
	link, env := s.databaseLink()
	c := s.paired("c", env...)
	s.talk(c)
	s.waitPushed(c)
	s.waitAcknowledged()
	s.waitProtected(c) // it need not have been all the while, on a busy machine
	before := 0
	count := func(text string) int { return strings.Count(c.Logs()[before:], text) }
	s.wait("the log to say so", func() bool { return count("session is unprotected") == count("session is protected again") })
	before = len(c.Logs())

	link.cut()
	s.peerWrites()
	s.waitAcknowledged()
	if mine := s.mine(c); mine.Unprotected == "" {
		t.Errorf("acknowledged while TiDB is away: %+v", mine)
	}
	for range 20 {
		s.peerWrites()
	}
	s.waitAcknowledged()
	if out, err := c.Command(s.ctx, "sessions").Output(); err != nil || !strings.Contains(string(out), "unprotected") {
		t.Errorf("connector sessions: %v\n%s", err, out)
	}
	link.mend()

	s.waitProtected(c)
	s.waitPushed(c)
	s.wait("the log to say so", func() bool { return count("session is protected again") > 0 })
	if lost, back := count("session is unprotected"), count("session is protected again"); lost != 1 || back != 1 {
		t.Errorf("logged %d times that the session is unprotected, %d times that it is not", lost, back)
	}
	s.must(c.Stop(stopTime))
	elsewhere := s.connector("elsewhere")
	_, err := elsewhere.Open(s.ctx, s.session)
	s.must(err)
	s.inboxHasAll(elsewhere)
	s.talk(elsewhere)
	s.nothingLost(elsewhere)
}
