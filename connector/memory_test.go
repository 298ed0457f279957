package main

import (
	"runtime"
	"testing"
)

func TestIdle(t *testing.T) {
	for _, c := range []struct {
		before, now heap
		want        bool
	}{
		{heap{1000, 100}, heap{1040, 100}, true},
		{heap{1000, 100}, heap{1060, 100}, false},
		{heap{1000, 100}, heap{1060, 200}, true},
		{heap{0, 0}, heap{0, 0}, false}, // nothing was ever collected
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
