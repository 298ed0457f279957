package manager

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"cloudsession/connector/replicate"
	"cloudsession/connector/whatsapp"
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
