package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// memoryEvery is how often it is looked whether the process is idle: as often as
	// Go collects garbage in a process that does nothing.
	memoryEvery = 2 * time.Minute
	// idleShare is which part of what the process holds it may have allocated since
	// the last look, and still be idle.
	idleShare = 0.5
)

// returnMemory gives memory back to the system while the process is idle. By
// itself Go keeps as much as it was about to grow to: after many sessions were
// opened at once that is three times what they hold. Giving it back costs one
// collection of garbage.
func returnMemory(ctx context.Context) error {
	tick := time.NewTicker(memoryEvery)
	defer tick.Stop()
	before := readHeap()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := readHeap()
		if idle(before, now) {
			debug.FreeOSMemory()
			now = readHeap()
		}
		before = now
	}
}

// heap is how much a process has allocated so far, and how much of it is in use.
type heap struct{ allocated, live uint64 }

func readHeap() heap {
	samples := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}}
	metrics.Read(samples)
	return heap{samples[0].Value.Uint64(), samples[1].Value.Uint64()}
}

// idle reports whether little was allocated between two looks.
func idle(before, now heap) bool {
	return float64(now.allocated-before.allocated) < idleShare*float64(now.live)
}
