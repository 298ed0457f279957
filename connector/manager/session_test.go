package manager

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"cloudsession/connector/replicate"
	"cloudsession/connector/whatsapp"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/sessionlog"
)

func TestAttemptsThatFailRestLonger(t *testing.T) {
	s := &session{}
	now := time.Now()
	var last time.Duration
	for i := range 20 {
		if s.resting(now) {
			t.Fatalf("attempt %d: resting before it failed", i)
		}
		s.failed(now)
		pause := s.pace.notUntil.Sub(now)
		if pause < last || pause > longPause || !s.resting(now.Add(pause-1)) {
			t.Errorf("attempt %d: pause %s after %s", i, pause, last)
		}
		last = pause
		now = now.Add(pause)
	}
	if last != longPause {
		t.Errorf("the longest pause is %s, want %s", last, longPause)
	}
	s.succeeded()
	s.failed(now)
	if pause := s.pace.notUntil.Sub(now); pause != firstPause {
		t.Errorf("pause after a success is %s, want %s", pause, firstPause)
	}
}

func TestOutcomes(t *testing.T) {
	for _, c := range []struct {
		err  error
		code string
	}{
		{nil, ""},
		{ErrNoSession, "session_not_found"},
		{ErrNotOpen, "session_not_open"},
		{ErrFull, "no_capacity"},
		{fmt.Errorf("take: %w", ErrElsewhere), "owned_elsewhere"},
		{replicate.ErrFenced, "owned_elsewhere"},
		{replicate.ErrBackupOff, "backup_off"},
		{whatsapp.ErrLoggedOut, "logged_out"},
		{fmt.Errorf("restore: %w", sessionlog.ErrTampered), "damaged"},
		{sessionlog.ErrWrongSecret, "wrong_secret"},
		{context.DeadlineExceeded, "unavailable"},
		{errors.New("open /var/lib/connector/x.db: no space left"), "failed"},
	} {
		code, text := outcomeOf(c.err)
		if code != c.code || (code == "") != (text == "") {
			t.Errorf("%v: got %q, %q; want %q", c.err, code, text, c.code)
		}
		if c.err != nil && text == c.err.Error() {
			t.Errorf("%v: the row would hold the error itself", c.err)
		}
	}
}

// A session whose opening ends while the connector stops is either among those
// that are closed at the end, or not admitted: nobody would close its file.
func TestNothingIsAdmittedAfterTheEnd(t *testing.T) {
	m := New(Options{DataDir: t.TempDir(), Capacity: 2, Log: slog.New(slog.DiscardHandler)})
	early, err1 := m.entry("early")
	late, err2 := m.entry("late")
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if !m.hold(early, &opened{taken: cloudstore.Taken{Epoch: 1}, gone: make(chan struct{})}) {
		t.Fatal("a running connector admits nothing")
	}
	if held := m.heldAtEnd(); len(held) != 1 || held[0] != early {
		t.Errorf("%d sessions are to be closed at the end, want the early one", len(held))
	}
	if m.hold(late, &opened{taken: cloudstore.Taken{Epoch: 1}, gone: make(chan struct{})}) || late.current() != nil {
		t.Error("a session was admitted that nobody closes")
	}
}
