package manager

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"cloudsession/connector/replicate"
)

// slowLog answers WaitDurable after a time that the test sets; err ends it.
type slowLog struct {
	mu    sync.Mutex
	takes time.Duration
	err   error
	asked int
}

func (l *slowLog) set(takes time.Duration, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.takes, l.err = takes, err
}

func (l *slowLog) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

func (l *slowLog) WaitDurable(ctx context.Context) error {
	l.mu.Lock()
	l.asked++
	takes, err := l.takes, l.err
	l.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case <-time.After(takes):
		return l.Err()
	case <-ctx.Done():
		return fmt.Errorf("wait for the cloud: %w", ctx.Err())
	}
}

// waits returns how long a message waits, and with what outcome.
func waits(t *testing.T, p *protection, l *slowLog) (took time.Duration, lost int, err error) {
	t.Helper()
	began := time.Now()
	_, err = p.wait(t.Context(), l, func(error) { lost++ })
	return time.Since(began), lost, err
}

func TestMessageWaitsForTheCloud(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := protection{limit: protectTime}
		l := &slowLog{takes: 700 * time.Millisecond}
		for range 3 {
			if took, lost, err := waits(t, &p, l); took != l.takes || lost != 0 || err != nil {
				t.Errorf("waited %v, %d times unprotected, %v", took, lost, err)
			}
		}
	})
}

// The first message of an outage waits two seconds, no other does, until the backlog is through and TiDB answers in
// time.
func TestOnlyOneMessageWaitsInAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := protection{limit: protectTime}
		l := &slowLog{takes: time.Hour}
		if took, lost, err := waits(t, &p, l); took != protectTime || lost != 1 || err != nil {
			t.Errorf("the first waited %v, %d times unprotected, %v", took, lost, err)
		}
		for range 100 {
			if took, lost, err := waits(t, &p, l); took != 0 || lost != 0 || err != nil {
				t.Errorf("a later one waited %v, %d times unprotected, %v", took, lost, err)
			}
		}
		if l.asked != 1 {
			t.Errorf("asked %d times", l.asked)
		}

		l.set(10*time.Second, nil) // the backlog
		regained := make(chan error, 1)
		go func() { regained <- p.regain(t.Context(), l) }()
		time.Sleep(9 * time.Second)
		l.set(3*time.Second, nil) // through, but still slow
		time.Sleep(3 * time.Second)
		if !p.shown() {
			t.Error("protected by a database that answers after three seconds")
		}
		l.set(time.Millisecond, nil)
		if err := <-regained; err != nil || p.shown() {
			t.Errorf("regain: %v, unprotected %v", err, p.shown())
		}
		if took, lost, err := waits(t, &p, l); took != time.Millisecond || lost != 0 || err != nil {
			t.Errorf("afterwards one waited %v, %d times unprotected, %v", took, lost, err)
		}
	})
}

// Whatever ends the log: the message is not this process's to acknowledge, also not without protection.
func TestEndedLogAcknowledgesNothing(t *testing.T) {
	for _, end := range []error{replicate.ErrFenced, replicate.ErrSealed, replicate.ErrClosed} {
		for _, before := range []protectionState{protected, unprotected, regaining} {
			synctest.Test(t, func(t *testing.T) {
				p := protection{limit: protectTime}
				p.state.Store(before)
				l := &slowLog{err: fmt.Errorf("session x: %w", end)}
				if took, lost, err := waits(t, &p, l); took != 0 || lost != 0 || !errors.Is(err, end) {
					t.Errorf("%v, state %d: waited %v, %d times unprotected, %v", end, before, took, lost, err)
				}
				if err := p.regain(t.Context(), l); !errors.Is(err, end) {
					t.Errorf("regain: %v", err)
				}
			})
		}
	}
}

// The log ends while a message waits.
func TestFencedWhileAMessageWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := protection{limit: protectTime}
		l := &slowLog{takes: time.Second}
		time.AfterFunc(500*time.Millisecond, func() { l.set(0, replicate.ErrFenced) })
		if took, lost, err := waits(t, &p, l); took != time.Second || lost != 0 || !errors.Is(err, replicate.ErrFenced) {
			t.Errorf("waited %v, %d times unprotected, %v", took, lost, err)
		}
	})
}

// A sealed log has everything; one that has ended otherwise may not.
func TestPromiseOverAnEndedLog(t *testing.T) {
	for end, want := range map[error]bool{nil: true, replicate.ErrSealed: true, replicate.ErrFenced: false, replicate.ErrClosed: false} {
		if err := inCloud(t.Context(), &slowLog{err: end}); (err == nil) != want {
			t.Errorf("the log ended with %v: %v", end, err)
		}
	}
}

// A stopping session doesn't wait, and doesn't turn unprotected for it.
func TestStopEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := protection{limit: protectTime}
		l := &slowLog{takes: time.Hour}
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		began := time.Now()
		_, err := p.wait(ctx, l, func(error) { t.Error("unprotected") })
		if took := time.Since(began); took != 300*time.Millisecond || !errors.Is(err, context.DeadlineExceeded) || p.shown() {
			t.Errorf("waited %v: %v", took, err)
		}
		p.state.Store(unprotected)
		if err := p.regain(ctx, l); err == nil || !p.shown() {
			t.Errorf("regain: %v", err)
		}
	})
}

// countedLog is a log that holds what was stored when WaitDurable was last called with success.
type countedLog struct {
	slowLog
	stored, durable atomic.Int64
}

func (l *countedLog) WaitDurable(ctx context.Context) error {
	stored := l.stored.Load()
	err := l.slowLog.WaitDurable(ctx)
	if err == nil {
		l.durable.Store(max(stored, l.durable.Load()))
	}
	return err
}

// "Protected again" is said of every message that was acknowledged on this disk, also of those that came in while the
// backlog went through.
func TestRegainCoversWhatIsAcknowledgedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := protection{limit: protectTime}
		l := &countedLog{}
		l.set(time.Hour, nil)
		store := func() {
			l.stored.Add(1)
			if _, err := p.wait(t.Context(), l, func(error) {}); err != nil {
				t.Error(err)
			}
		}
		store() // nobody answers
		l.set(time.Second, nil)
		regained := make(chan error, 1)
		go func() { regained <- p.regain(t.Context(), l) }()
		time.Sleep(500 * time.Millisecond)
		store()
		if err := <-regained; err != nil || p.shown() {
			t.Errorf("regain: %v, unprotected %v", err, p.shown())
		}
		if stored, durable := l.stored.Load(), l.durable.Load(); durable < stored {
			t.Errorf("said to be protected with %d of %d messages in TiDB", durable, stored)
		}
	})
}

// TiDB goes away again while the last of the backlog is looked for: it was never regained, which is said once.
func TestRegainThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := protection{limit: protectTime}
		p.state.Store(unprotected)
		l := &slowLog{takes: time.Second}
		regained := make(chan error, 1)
		go func() { regained <- p.regain(t.Context(), l) }()
		time.Sleep(500 * time.Millisecond)
		l.set(time.Hour, nil)
		time.Sleep(time.Second) // the first look is over, the second is not
		if took, lost, err := waits(t, &p, l); took != protectTime || lost != 0 || err != nil {
			t.Errorf("a message waited %v, %d times unprotected, %v", took, lost, err)
		}
		if took, _, err := waits(t, &p, l); took != 0 || err != nil || !p.shown() {
			t.Errorf("the next waited %v, %v, unprotected %v", took, err, p.shown())
		}
		l.set(time.Millisecond, nil)
		if err := <-regained; err != nil || p.shown() {
			t.Errorf("regain: %v, unprotected %v", err, p.shown())
		}
	})
}
