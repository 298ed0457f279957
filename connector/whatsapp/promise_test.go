package whatsapp

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Whoever is told that a message will be repeated is told so without a condition only once TiDB has its record.
func TestPromiseToRepeat(t *testing.T) {
	away := errors.New("TiDB is away")
	for _, test := range []struct {
		name string
		copy func(context.Context) error
		kept bool
	}{
		{"in TiDB", func(context.Context) error { return nil }, true},
		{"not in TiDB", func(context.Context) error { return away }, false},
		{"nobody knows", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, false},
		{"no copy at all", nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			var asked atomic.Int32
			c := w.pairQR(func(cfg *Config) {
				cfg.Grace.Promise = 10 * time.Millisecond
				if test.copy != nil {
					cfg.Kept = func(ctx context.Context) error { asked.Add(1); return test.copy(ctx) }
				}
			})
			c.send(w.other.PN(), "acknowledged")
			if asked.Load() != 0 {
				t.Error("a message that went out waited for TiDB")
			}
			device := c.jid()
			rule := w.service.Faults().LoseAcks(&device)
			ctx, giveUp := context.WithCancel(testContext(t))
			done := make(chan error, 1)
			go func() {
				_, err := c.Send(ctx, w.other.PN().String(), "unanswered", "key")
				done <- err
			}()
			w.waitText(w.other, "unanswered")
			giveUp()
			err := <-done
			var unfinished *UnfinishedError
			if !errors.As(err, &unfinished) || unfinished.Kept != test.kept || !errors.Is(err, context.Canceled) {
				t.Errorf("told: %v", err)
			} else if conditional := strings.Contains(err.Error(), "unless"); conditional == test.kept {
				t.Errorf("told: %v", err)
			}
			rule.Remove()
			w.service.Faults().Cut(&device)
			w.wait("the outcome's record", func() bool { return len(c.unfinished()) == 0 })
		})
	}
}

// A stop doesn't wait for the promise: what it does next brings the record to TiDB.
func TestStopDoesNotWaitForThePromise(t *testing.T) {
	w := newWorld(t)
	paired := w.pairQR()
	paired.close()
	asked, answer := make(chan struct{}), make(chan struct{})
	c := w.open(paired.path, func(cfg *Config) {
		cfg.MayConnect = func(context.Context) error { return errors.New("not now") }
		cfg.Grace.Promise = time.Minute
		cfg.Kept = func(context.Context) error { close(asked); <-answer; return nil }
	})
	if err := c.Start(testContext(t), false); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := c.Send(testContext(t), w.other.PN().String(), "untried", "key")
		done <- err
	}()
	w.wait("record", func() bool { return len(c.unfinished()) == 1 })
	stopped := make(chan error, 1)
	go func() { stopped <- c.Stop(testContext(t)) }()
	<-asked
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	close(answer)
	var unfinished *UnfinishedError
	if err := <-done; !errors.As(err, &unfinished) || !unfinished.Kept || !errors.Is(err, ErrStopped) {
		t.Errorf("told: %v", err)
	}
}
