package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// memory is what a connector takes with so many idle sessions.
type memory struct {
	sessions int
	resident int64 // bytes
	goHeap   int64 // of which Go's heap and stacks are in use
}

// noteMemory leaves the sessions alone for a while and reads the holder's memory.
func (f *fleet) noteMemory(ctx context.Context, settle time.Duration) error {
	if err := pause(ctx, settle); err != nil {
		return err
	}
	u, err := usageOf(f.holder.Pid())
	if err != nil {
		return err
	}
	m, err := scrape(ctx, f.metricsAddr)
	if err != nil {
		return err
	}
	heap, err1 := m.gauge("go_memstats_heap_inuse_bytes")
	stacks, err2 := m.gauge("go_memstats_stack_inuse_bytes")
	f.memory = append(f.memory, memory{len(f.devices), u.resident, int64(heap + stacks)})
	return errors.Join(err1, err2)
}

// perSession is what each session adds to a connector without any, in bytes.
func perSession(empty, m memory) int64 {
	return (m.resident - empty.resident) / int64(m.sessions-empty.sessions)
}

// idleMemory measures what an idle live session costs a connector.
func idleMemory(b *bench, ctx context.Context) ([]row, error) {
	f, err := b.fleetOfMany(ctx)
	if err != nil {
		return nil, err
	}
	const target = 250_000
	empty, last := f.memory[0], f.memory[len(f.memory)-1]
	texts := []string{fmt.Sprintf("none: %s", megabytes(empty.resident))}
	for _, m := range f.memory[1:] {
		texts = append(texts, fmt.Sprintf("%d: %s (Go's heap and stacks %s), %.0f kB each",
			m.sessions, megabytes(m.resident), megabytes(m.goHeap), float64(perSession(empty, m))/1e3))
	}
	if half := f.memory[len(f.memory)-2]; half.sessions > empty.sessions {
		texts = append(texts, fmt.Sprintf("each more %.0f kB", float64(perSession(half, last))/1e3))
	}
	return []row{{
		what:     "memory per idle live session",
		measured: strings.Join(texts, "; "),
		target:   "≤ 250 kB",
		met:      perSession(empty, last) <= target,
		how: fmt.Sprintf("resident memory of a connector process, what it takes without sessions subtracted; met or not with all of them; sessions paired in it and connected to the simulated service, nothing said for %s",
			b.settle),
	}}, nil
}
