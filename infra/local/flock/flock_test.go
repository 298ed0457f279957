package flock

import (
	"errors"
	"path/filepath"
	"testing"

	"cloudsession/infra/local/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func TestTry(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lock")
	first, _, err := Try(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, note := range []string{"a long note of the holder", "short"} {
		if err := first.Note(note); err != nil {
			t.Fatal(err)
		}
		if _, holder, err := Try(file); !errors.Is(err, ErrHeld) || holder != note {
			t.Errorf("a second lock: %v, held by %q, want %q", err, holder, note)
		}
	}
	if err := first.Unlock(); err != nil {
		t.Fatal(err)
	}
	again, _, err := Try(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Unlock(); err != nil {
		t.Error(err)
	}
	if _, _, err := Try(filepath.Join(t.TempDir(), "no", "folder")); err == nil || errors.Is(err, ErrHeld) {
		t.Errorf("a lock that can't be made: %v", err)
	}
}

// TestWait: the second waits until the first lets go.
func TestWait(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lock")
	unlock, err := Wait(file)
	if err != nil {
		t.Fatal(err)
	}
	order := make(chan string, 2)
	got := make(chan error, 1)
	go func() {
		second, err := Wait(file)
		order <- "second has it"
		if err == nil {
			second()
		}
		got <- err
	}()
	if _, _, err := Try(file); !errors.Is(err, ErrHeld) {
		t.Errorf("while it is held: %v", err)
	}
	order <- "first lets go"
	unlock()
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	if first := <-order; first != "first lets go" {
		t.Errorf("at first, %s", first)
	}
}
