package main

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestIdle(t *testing.T) {
	for _, c := range []struct {
		before, now heap
		want        bool
	}{
		{heap{1000, 100, 0}, heap{1030, 100, 0}, true},
		{heap{1000, 100, 0}, heap{1050, 100, 0}, false},
		{heap{1000, 100, 0}, heap{1050, 200, 0}, true},
		{heap{}, heap{}, false}, // nothing was ever collected
	} {
		if got := idle(c.before, c.now); got != c.want {
			t.Errorf("idle(%v, %v) is %t", c.before, c.now, got)
		}
	}
}

func TestReadHeap(t *testing.T) {
	before := readHeap()
	kept := make([]byte, 8<<20)
	runtime.GC()
	now := readHeap()
	if now.allocated < before.allocated+uint64(len(kept)) || now.live < uint64(len(kept)) {
		t.Errorf("before %+v, with %d bytes more %+v", before, len(kept), now)
	}
	runtime.KeepAlive(kept)
}

// What is garbage, or free and not given back, is worth a collection; what is in
// use is not.
func TestWorth(t *testing.T) {
	kept := make([]byte, 64<<20)
	debug.FreeOSMemory()
	if h := readHeap(); h.worth() {
		t.Errorf("after all was given back: %+v", h)
	}
	// A collection that begins in the middle of the allocation takes what it makes for live.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	garbage := make([]byte, 64<<20)
	runtime.KeepAlive(garbage)
	if h := readHeap(); !h.worth() {
		t.Errorf("with 64 MiB of garbage: %+v", h)
	}
	runtime.KeepAlive(kept)
}
