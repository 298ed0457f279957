package whatsapp

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.mau.fi/whatsmeow/store"

	"cloudsession/connector/watest"
)

// slowReads takes its time between reading a Signal session to encrypt with it and going on, as a busy machine does.
type slowReads struct {
	store.AllSessionSpecificStores
	mu     sync.Mutex
	random *rand.Rand
}

func (s *slowReads) pause(ctx context.Context) {
	if isDecrypting(ctx) {
		return
	}
	s.mu.Lock()
	d := time.Duration(s.random.Int64N(int64(10 * time.Millisecond)))
	s.mu.Unlock()
	time.Sleep(d) // part of the fault, not synchronisation
}

func (s *slowReads) GetSession(ctx context.Context, address string) ([]byte, error) {
	session, err := s.AllSessionSpecificStores.GetSession(ctx, address)
	s.pause(ctx)
	return session, err
}

func (s *slowReads) GetManySessions(ctx context.Context, addresses []string) (map[string][]byte, error) {
	sessions, err := s.AllSessionSpecificStores.GetManySessions(ctx, addresses)
	s.pause(ctx)
	return sessions, err
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

// storm is a session that writes to several phones, all of which write to it, while they lose their Signal sessions
// again and again: what they can't read they ask for at once, and the answers meet the messages that go out.
func (w *world) storm(seed uint64, without string, each int) *client {
	w.t.Helper()
	c := w.open(w.linkedFile())
	c.guard.testWithout = without
	c.guard.turn.longest = time.Hour // a machine that is overloaded takes nobody's turn away
	guarded := c.device.Sessions.(*guardedStore)
	guarded.AllSessionSpecificStores = &slowReads{
		AllSessionSpecificStores: guarded.AllSessionSpecificStores, random: rand.New(rand.NewPCG(seed, 0)),
	}
	c.connect(false)
	peers := []*watest.Phone{w.other}
	for i := range 3 {
		peers = append(peers, w.phone(fmt.Sprintf("+62 813 0000 000%d", i), fmt.Sprint("Peer ", i)))
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), 3*patience)
	defer cancel()
	var traffic sync.WaitGroup
	for n, peer := range peers {
		random := rand.New(rand.NewPCG(seed, uint64(n)+1))
		c.send(peer.PN(), fmt.Sprintf("hello %d", n))
		traffic.Go(func() {
			for i := range each {
				if without != "" && len(w.service.Reuses()) > 0 {
					return // it has shown what it should
				}
				if _, err := c.Send(ctx, peer.PN().String(), fmt.Sprintf("out %d %d", n, i), ""); err != nil {
					w.t.Error(err)
				}
				if random.IntN(2) == 0 {
					peer.ForgetSessions()
				}
				if i%6 != 0 {
					continue
				}
				if _, err := peer.SendText(ctx, w.own.PN(), fmt.Sprintf("in %d %d", n, i)); err != nil {
					w.t.Error(err)
				}
			}
		})
	}
	traffic.Wait()
	return c
}

// W1: without the guard message keys are used twice; with it none is, nothing is lost, and the session goes on sending
// all the while, on the connection it had.
func TestStorm(t *testing.T) {
	seed := testSeed(t)
	const each = 30
	t.Run("guarded", func(t *testing.T) {
		w := newWorld(t)
		c := w.storm(seed, "", each)
		for n := range 4 {
			for i := 0; i < each; i += 6 {
				c.awaitMessage(fmt.Sprintf("in %d %d", n, i))
			}
		}
		w.expectSound(c)
		counters := w.service.Counters()
		t.Logf("%d messages, %d retries, %d logins", counters.Accepted, counters.RetryReceipts, w.service.Device(c.jid()).Logins)
		if counters.RetryReceipts < each {
			t.Errorf("%d retries: this was no storm", counters.RetryReceipts)
		}
	})
	t.Run("unguarded", func(t *testing.T) {
		w := newWorld(t)
		w.storm(seed, "W1", 5*each) // ends with the first reuse
		t.Logf("%d messages, %d lost so far, reused: %+v", w.service.Counters().Accepted, len(w.service.Lost()), w.service.Reuses())
		if len(w.service.Reuses()) == 0 {
			t.Error("no message key was used twice: the storm proves nothing")
		}
	})
}
