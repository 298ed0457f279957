package whatsapp

import (
	"context"
	"errors"
	"testing"
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
