package whatsapp

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/types/events"
)

// These tests switch a rule of section 8 off and show what goes wrong without it. The tests that hold with the rule are
// beside them or, where they are longer, in the file of the code. W1 has ratchet_test.go and storm_test.go.

// without opens a file with a rule switched off.
func (w *world) without(rule, path string, change ...func(*Config)) *client {
	w.t.Helper()
	c := w.open(path, change...)
	c.guard.testWithout = rule
	return c
}

// W2: the disk fails for a while. whatsmeow by itself answers with retry receipts until it gives up, acknowledging all
// the way; under guard the service keeps the message until it can be read.
func TestDiskFailsForAWhile(t *testing.T) {
	for _, test := range []struct {
		without string
		lost    bool
	}{{"", false}, {"W2", true}} {
		t.Run("without "+test.without, func(t *testing.T) {
			t.Parallel() // it waits for the backoff
			w := newWorld(t)
			c := w.without(test.without, w.linkedFile())
			guarded := c.device.Sessions.(*guardedStore)
			faulty := &faultyStore{AllSessionSpecificStores: guarded.AllSessionSpecificStores, op: "GetSession"}
			guarded.AllSessionSpecificStores = faulty
			c.connect(false)
			w.sendText(w.other, w.own.PN(), "hello")
			c.awaitMessage("hello")

			faulty.times.Store(1 << 30)
			w.sendText(w.other, w.own.PN(), "precious")
			if test.lost {
				w.wait("end of the retries", func() bool {
					return strings.Contains(c.log.String(), "Not sending any more retry receipts") && w.service.Device(c.jid()).Queued == 0
				})
			} else {
				w.wait("second try", func() bool { return faulty.hits.Load() >= 2 })
			}
			faulty.times.Store(0)
			w.sendText(w.other, w.own.PN(), "next")
			c.awaitMessage("next")
			if n := c.times("precious"); (n == 0) != test.lost {
				t.Errorf("the message is there %d times, want lost: %v", n, test.lost)
			}
		})
	}
}

// W3: a handler that fails or panics and is taken for a successful one.
func TestFailedHandlerTakenForSuccess(t *testing.T) {
	for name, fail := range map[string]func() error{
		"error": func() error { return errors.New("inbox is broken") },
		"panic": func() error { panic("broken") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c := w.without("W3", w.linkedFile())
			failed := false
			c.testMessage = func(evt *events.Message) error {
				if evt.Message.GetConversation() == "precious" && !failed {
					failed = true
					return fail()
				}
				return nil
			}
			c.connect(false)
			id := w.sendText(w.other, w.own.PN(), "precious")
			c.awaitAcknowledged(id)
			device := c.jid()
			w.service.Faults().Cut(&device)
			w.sendText(w.other, w.own.PN(), "next")
			c.awaitMessage("next")
			if n := c.times("precious"); n != 0 {
				t.Errorf("the message is there %d times: this wasn't the fault", n)
			}
		})
	}
}

// W4: whatsmeow deletes the rows of a device that was unlinked, and nothing is left to restore or to look at.
func TestLogoutDeletesRows(t *testing.T) {
	w := newWorld(t)
	c := w.without("W4", w.linkedFile())
	c.connect(false)
	c.send(w.other.PN(), "one")
	if err := w.own.Unlink(testContext(t), c.jid()); err != nil {
		t.Fatal(err)
	}
	c.awaitState(StateLoggedOut)
	for _, table := range []string{"whatsmeow_device", "whatsmeow_sessions", "whatsmeow_pre_keys"} {
		w.wait("deletion of "+table, func() bool { return c.count(table) == 0 })
	}
}

// heldStore holds a decryption back once it is committed.
type heldStore struct {
	store.AllSessionSpecificStores
	held, free chan struct{}
}

func (s *heldStore) DoDecryptionTxn(ctx context.Context, fn func(context.Context) error) error {
	err := s.AllSessionSpecificStores.DoDecryptionTxn(ctx, fn)
	select {
	case s.held <- struct{}{}:
		<-s.free
	default: // only the first
	}
	return err
}

// W5: whatsmeow hands out events after it was disconnected: here of a message that it was decrypting. The handler
// refuses them; else it would work on a file that is being sealed, or on a closed one.
func TestEventAfterStop(t *testing.T) {
	for _, without := range []string{"", "W5"} {
		t.Run("without "+without, func(t *testing.T) {
			w := newWorld(t)
			c := w.without(without, w.linkedFile())
			guarded := c.device.Sessions.(*guardedStore)
			held := &heldStore{guarded.AllSessionSpecificStores, make(chan struct{}, 1), make(chan struct{})}
			guarded.AllSessionSpecificStores = held
			handled := make(chan struct{}, 1)
			c.testMessage = func(*events.Message) error {
				handled <- struct{}{}
				return nil
			}
			c.connect(false)
			w.sendText(w.other, w.own.PN(), "late")
			w.wait("decryption", func() bool { return len(held.held) > 0 })
			if err := c.Stop(testContext(t)); err != nil {
				t.Fatal(err)
			}
			close(held.free)
			w.wait("event", func() bool { return strings.Contains(c.log.String(), "Handler for") })
			if got, want := len(handled), len(without)/2; got != want {
				t.Errorf("%d messages were handled after Stop, want %d", got, want)
			}
			c.close()
			again := w.open(c.path)
			again.connect(false)
			again.awaitMessage("late") // and it isn't lost
		})
	}
}

// W6: what a logout leaves in a file would go to the next account, and to the cloud under its name. So a file that was
// ever linked takes no other pairing.
func TestFileOfAnEarlierPairing(t *testing.T) {
	w := newWorld(t)
	c := w.without("W4", w.linkedFile()) // with it, no file is ever without its device again
	c.connect(false)
	c.send(w.other.PN(), "one")
	if err := w.own.Unlink(testContext(t), c.jid()); err != nil {
		t.Fatal(err)
	}
	c.awaitState(StateLoggedOut)
	w.wait("deletion", func() bool { return c.count("whatsmeow_device") == 0 })
	c.close()

	again := w.open(c.path)
	if again.Paired() {
		t.Fatal("the file has its device: whatsmeow deletes nothing any more")
	}
	events, err := again.Pair(testContext(t), PairRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for e := range events {
		if e.Kind == PairQR {
			again.shown = append(again.shown, e.Text)
			if _, err := w.phone("+62 819 7777 7777", "Somebody else").ScanQR(testContext(t), e.Text); err != nil {
				t.Fatal(err)
			}
		}
	}
	var n int
	row := again.file.DB().QueryRowContext(t.Context(), `SELECT COUNT(*) FROM whatsmeow_lid_map WHERE lid = ?`, w.other.LID().User)
	if err := row.Scan(&n); err != nil || n == 0 {
		t.Errorf("the first account's contacts are gone (%v): is the rule still needed?", err)
	}

	guarded := w.open(filepath.Join(t.TempDir(), "session.db"))
	if n := guarded.count("whatsmeow_lid_map"); n != 0 {
		t.Errorf("a new file knows %d addresses", n)
	}
	if _, err := w.open(w.linkedFile()).Pair(testContext(t), PairRequest{}); !errors.Is(err, ErrPaired) {
		t.Errorf("pairing over a linked file: %v", err)
	}
}

// A3: the service has a message, and its answer is lost with the session. The next one repeats it: under the same id, and
// it is shown once. Under an id of its own per attempt the recipient sees it twice.
func TestRepeatedSendIsShownOnce(t *testing.T) {
	for _, test := range []struct {
		without string
		shown   int
	}{{"", 1}, {"A3", 2}} {
		t.Run("without "+test.without, func(t *testing.T) {
			w := newWorld(t)
			path := w.linkedFile()
			hurried := func(cfg *Config) { cfg.Grace.Sends = time.Millisecond } // the answer never comes
			c := w.without(test.without, path, hurried)
			c.connect(false)
			device := c.jid()
			rule := w.service.Faults().LoseAcks(&device)
			ctx, cancel := context.WithCancel(testContext(t))
			done := make(chan error, 1)
			go func() {
				_, err := c.Send(ctx, w.other.PN().String(), "paid", "order-17")
				done <- err
			}()
			w.waitText(w.other, "paid")
			cancel()
			if err := <-done; err == nil {
				t.Fatal("reported as sent without the service's answer")
			}
			if err := c.Stop(testContext(t)); err == nil {
				t.Error("Stop says that nothing was under way")
			}
			if err := c.file.Close(); err != nil {
				t.Fatal(err)
			}
			rule.Remove()

			again := w.without(test.without, path)
			again.connect(false)
			if _, err := again.Send(testContext(t), w.other.PN().String(), "paid", "order-17"); err != nil {
				t.Fatal(err)
			}
			again.send(w.other.PN(), "next")
			w.waitText(w.other, "next")
			shown := 0
			for _, m := range w.other.Messages() {
				if m.Text == "paid" {
					shown++
				}
			}
			if shown != test.shown {
				t.Errorf("shown %d times, want %d", shown, test.shown)
			}
		})
	}
}
