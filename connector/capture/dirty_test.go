package capture

import (
	"errors"
	"testing"
)

func TestIsDirty(t *testing.T) {
	s := newSession(t, 1)
	ctx := t.Context()
	exec(t, s.File, "CREATE TABLE inbox_x (a TEXT, b BLOB, PRIMARY KEY (a, b))")
	if _, err := s.IsDirty(ctx, "inbox_x", "k", []byte{1}); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("before the triggers: %v", err)
	}
	install(t, s.File)
	s.pushBase(t)
	check := func(when string, want bool) {
		t.Helper()
		if got, err := s.IsDirty(ctx, "inbox_x", "k", []byte{1}); err != nil || got != want {
			t.Errorf("%s: %v, %v; want %v", when, got, err, want)
		}
		if got, err := s.IsDirty(ctx, "inbox_x", "k", []byte{2}); err != nil || got {
			t.Errorf("%s, another row: %v, %v", when, got, err)
		}
		if got, err := s.IsDirty(ctx, "inbox_x"); err != nil || got != want {
			t.Errorf("%s, any row: %v, %v; want %v", when, got, err, want)
		}
	}
	check("at first", false)
	exec(t, s.File, "INSERT INTO inbox_x VALUES ('k', x'01')")
	check("after the insert", true)
	s.pushDelta(t)
	check("after the push", false)
	exec(t, s.File, "DELETE FROM inbox_x")
	check("after the delete", true)
}
