package whatsapp

import (
	"context"
	"errors"
	"testing"

	"cloudsession/connector/inbox"
	"cloudsession/connector/watest"
)

// waiting is a session that never gets to connect, and a send that waits for it.
func (w *world) waiting(t *testing.T, ctx context.Context) (c *client, path string, outcome <-chan error) {
	t.Helper()
	paired := w.pairQR()
	paired.close()
	c = w.open(paired.path, func(cfg *Config) {
		cfg.MayConnect = func(context.Context) error { return errors.New("not now") }
	})
	if err := c.Start(testContext(t), false); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := c.Send(ctx, w.other.PN().String(), "untried", "key")
		done <- err
	}()
	w.wait("record", func() bool { return len(c.unfinished()) == 1 })
	return c, paired.path, done
}

// A send that waits for the connection when the session stops goes out in the next one: its caller may have been told
// long ago that it will.
func TestUntriedSendGoesOutInTheNextSession(t *testing.T) {
	w := newWorld(t)
	ctx, giveUp := context.WithCancel(testContext(t))
	c, path, outcome := w.waiting(t, ctx)
	giveUp()
	var unfinished *UnfinishedError
	if err := <-outcome; !errors.As(err, &unfinished) {
		t.Fatalf("send: %v", err)
	}
	c.close()

	next := w.open(path)
	next.connect(false)
	if got := w.waitText(w.other, "untried"); got.ID != unfinished.ID {
		t.Errorf("shown as %s, promised as %s", got.ID, unfinished.ID)
	}
	w.wait("the outcome's record", func() bool { return len(next.unfinished()) == 0 })
}

// The record of a send may be on its way to the session's next owner: whoever is told that the message was not sent
// would see it sent all the same.
func TestUntriedSendIsUnfinishedWhenTheSessionEnds(t *testing.T) {
	for name, end := range map[string]func(*Session, context.Context) error{"stop": (*Session).Stop, "abort": (*Session).Abort} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c, _, outcome := w.waiting(t, testContext(t))
			if err := end(c.Session, testContext(t)); err != nil {
				t.Error(err)
			}
			var unfinished *UnfinishedError
			if err := <-outcome; !errors.As(err, &unfinished) || !errors.Is(err, ErrStopped) {
				t.Errorf("send: %v", err)
			}
			if left := c.unfinished(); len(left) != 1 {
				t.Errorf("unfinished: %v, want the one send", left)
			}
		})
	}
}

// A delivery that begins with what stood in the record before another one ended.
func TestDeliveryOfASendThatIsOver(t *testing.T) {
	w := newWorld(t)
	c := w.pairQR()
	to := w.other.PN().String()
	for _, test := range []struct {
		name string
		end  func(inbox.Send) error
		want error
	}{
		{"sent", func(s inbox.Send) error { _, err := c.Send(testContext(t), to, s.Text, s.Key); return err }, nil},
		{"refused", func(s inbox.Send) error { return c.Inbox().MarkFailed(t.Context(), s.ID, "refused") }, ErrNotSent},
		{"forgotten", func(s inbox.Send) error {
			_, err := c.file.DB().ExecContext(t.Context(), `DELETE FROM inbox_sends WHERE id = ?`, s.ID)
			return err
		}, ErrNotSent},
	} {
		t.Run(test.name, func(t *testing.T) {
			stale, _, err := c.Inbox().Reserve(t.Context(), test.name, newMessageID(), to, "text "+test.name)
			if err != nil {
				t.Fatal(err)
			}
			if err := test.end(stale); err != nil {
				t.Fatal(err)
			}
			d := c.deliver(stale)
			select {
			case <-d.done:
			case <-testContext(t).Done():
				t.Fatal("the delivery never ends, and what stands behind it is never sent")
			}
			if !errors.Is(d.err, test.want) || d.err == nil && (!d.sent.Repeated || d.sent.ID != stale.ID || d.sent.At.IsZero()) {
				t.Errorf("%+v, %v", d.sent, d.err)
			}
		})
	}
	if n := w.service.Counters().Accepted; n != 1 {
		t.Errorf("%d messages accepted, want one", n)
	}
}

// The next connection goes through what is unfinished from the start, and alone: in order.
func TestResumingEndsWithItsConnection(t *testing.T) {
	w := newWorld(t)
	c := w.pairQR()
	device := c.jid()
	unheard := w.service.Faults().Drop(&device, watest.FromDevice, watest.Tag("message"))
	if _, _, err := c.Inbox().Reserve(t.Context(), "key", newMessageID(), w.other.PN().String(), "unheard"); err != nil {
		t.Fatal(err)
	}
	unfinished := c.unfinished()
	c.mu.Lock()
	dropped := c.dropped
	c.mu.Unlock()
	over := make(chan struct{})
	go func() {
		defer close(over)
		c.resumeSends(unfinished, dropped)
	}()
	w.wait("the attempt", func() bool { return unheard.Hits() > 0 })
	c.unready()
	select {
	case <-over:
	case <-testContext(t).Done():
		t.Error("it goes on beside the next connection's")
	}
	unheard.Remove()
	w.service.Faults().Cut(&device)
	w.waitText(w.other, "unheard")
	w.wait("the outcome's record", func() bool { return len(c.unfinished()) == 0 })
}

// While its record says that a message is to be sent, nobody may be told that it won't be.
func TestRefusalThatIsNotRecorded(t *testing.T) {
	w := newWorld(t)
	c := w.pairQR()
	const full = `CREATE TRIGGER full BEFORE UPDATE ON inbox_sends WHEN NEW.state = 'failed' BEGIN SELECT RAISE(ABORT, 'no space'); END`
	if _, err := c.file.DB().ExecContext(t.Context(), full); err != nil {
		t.Fatal(err)
	}
	send := func() error {
		_, err := c.Send(testContext(t), "+62 899 9999 9999", "x", "key")
		return err
	}
	var unfinished *UnfinishedError
	if err := send(); !errors.As(err, &unfinished) {
		t.Errorf("refused while the disk is full: %v", err)
	}
	if left := c.unfinished(); len(left) != 1 {
		t.Errorf("unfinished: %v, want the one send", left)
	}
	if _, err := c.file.DB().ExecContext(t.Context(), `DROP TRIGGER full`); err != nil {
		t.Fatal(err)
	}
	if err := send(); !errors.Is(err, ErrNotOnWhatsApp) {
		t.Errorf("refused once there is space: %v", err)
	}
	if left := c.unfinished(); len(left) != 0 {
		t.Errorf("unfinished: %v", left)
	}
}
