package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	memoryEvery = 30 * time.Second // how often it is looked whether the process is idle
	// idleShare is which part of what the process holds it may have allocated since
	// the last look, and still be idle. Pings alone are an eighth.
	idleShare = 0.4
	// worthShare is which part of what the process holds has to come back for it. With
	// pings alone that is so at each look.
	worthShare = 0.1
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
		if idle(before, now) && now.worth() {
			debug.FreeOSMemory()
			now = readHeap()
		}
		before = now
	}
}

// heap is what a process has allocated so far, what of it was in use when garbage was
// last collected, and what giving memory back would free: garbage since then, and
// memory that is free and still the process's. In bytes.
type heap struct{ allocated, live, spare uint64 }

func readHeap() heap {
	samples := []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"},
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
	}
	metrics.Read(samples)
	allocated, live := samples[0].Value.Uint64(), samples[1].Value.Uint64()
	objects, free := samples[2].Value.Uint64(), samples[3].Value.Uint64()
	return heap{allocated, live, max(objects, live) - live + free}
}

// idle reports whether little was allocated between two looks.
func idle(before, now heap) bool {
	return float64(now.allocated-before.allocated) < idleShare*float64(now.live)
}

// worth reports whether much would come back.
func (h heap) worth() bool { return float64(h.spare) > worthShare*float64(h.live) }
