package whatsapp

import (
	"context"
	"errors"
	"testing"
	"time"

	"cloudsession/connector/watest"
)

// pauses records the waits between connections, without waiting.
type pauses chan time.Duration

func (p pauses) note(d time.Duration) time.Duration {
	select {
	case p <- d:
		return 0
	default:
		return time.Hour // enough was seen
	}
}

// expectBackoff checks that n pauses grow as they should: nearly none, then up to 1, 2, 4 … seconds.
func (p pauses) expectBackoff(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		select {
		case got := <-p:
			low, high := time.Duration(0), 200*time.Millisecond
			if i > 0 {
				high = min(time.Second<<(i-1), maxBackoff)
				low = high / 2
			}
			if got < low || got > high {
				t.Errorf("pause %d is %v, want %v to %v", i, got, low, high)
			}
		case <-time.After(patience):
			t.Fatalf("only %d pauses", i)
		}
	}
}

// Whatever keeps a session from staying connected: the pauses grow, and nothing loops tightly.
func TestBackoffOnEveryPath(t *testing.T) {
	const n = 7
	refused := func(reason int) func(*world, *Config) {
		return func(w *world, _ *Config) {
			w.service.Faults().RefuseLogins(nil, watest.Refusal{Reason: reason})
		}
	}
	for _, test := range []struct {
		name  string
		fault func(*world, *Config)
	}{
		{"may not connect", func(_ *world, cfg *Config) {
			cfg.MayConnect = func(context.Context) error { return errors.New("not the owner") }
		}},
		{"nobody answers", func(_ *world, cfg *Config) { cfg.Endpoint.Addr = testEndpoint.Addr }},
		{"500", refused(500)},
		{"501", refused(501)},
		{"503", refused(503)},
		{"cut at login", func(w *world, _ *Config) {
			w.service.Faults().CutOn(nil, watest.ToDevice, watest.Tag("success"))
		}},
		{"515 again and again", whenConnected(func(w *world) { w.service.Faults().StreamError(nil, "515") })},
		{"unknown stream error", whenConnected(func(w *world) { w.service.Faults().StreamError(nil, "599") })},
		{"cut when connected", whenConnected(func(w *world) { w.service.Faults().Cut(nil) })},
		{"message can't be acknowledged", func(w *world, cfg *Config) {
			cfg.Durable = func(context.Context) error { return errors.New("fenced") }
			w.sendText(w.other, w.own.PN(), "waiting")
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel() // the service closes a refused socket only after a while
			w := newWorld(t)
			path := w.linkedFile()
			c := w.open(path, func(cfg *Config) { test.fault(w, cfg) })
			seen := make(pauses, n)
			c.testPause = seen.note
			c.spawn(c.run)
			seen.expectBackoff(t, n)
		})
	}
}

// whenConnected makes a fault happen on each connection as soon as messages could flow.
func whenConnected(fault func(*world)) func(*world, *Config) {
	return func(w *world, cfg *Config) {
		cfg.OnState = func(state State, _ string) {
			if state == StateConnected {
				go fault(w)
			}
		}
	}
}

func TestBackoffStartsAnew(t *testing.T) {
	for _, test := range []struct {
		name   string
		before backoff
		kind   mailKind
		lasted time.Duration
		want   backoff
	}{
		{"short", backoff{failures: 5}, mailDropped, stableAfter - 1, backoff{failures: 5}},
		{"stable", backoff{failures: 5, relogin: true}, mailDropped, stableAfter, backoff{}},
		{"515", backoff{failures: 5}, mailRelogin, 0, backoff{relogin: true}},
		{"515 again", backoff{failures: 5, relogin: true}, mailRelogin, 0, backoff{failures: 5, relogin: true}},
	} {
		got := test.before
		got.ended(test.kind, test.lasted)
		if got != test.want {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
	}
	b := backoff{failures: 100}
	if d := b.next(); d < maxBackoff/2 || d > maxBackoff {
		t.Errorf("the longest pause is %v", d)
	}
}
