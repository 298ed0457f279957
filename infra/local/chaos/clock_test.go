package chaos

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// The Go in use has the package time that BuildWithClock changes; building it
// takes minutes and is left to `make chaos`.
func TestClockOverlay(t *testing.T) {
	if _, err := clockOverlay(t.Context(), t.TempDir()); err != nil {
		t.Error(err)
	}
}

// A clock is set in place, for the process that has its file mapped.
func TestSetClock(t *testing.T) {
	c := clock{filepath.Join(t.TempDir(), "clock")}
	for _, ahead := range []time.Duration{0, -40 * time.Minute, time.Hour} {
		if err := c.set(ahead); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(c.path)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) != 8 || time.Duration(binary.NativeEndian.Uint64(b))*time.Second != ahead {
			t.Errorf("set by %v, the file has % x", ahead, b)
		}
	}
}
