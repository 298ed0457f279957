package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// memory is what a connector takes with so many idle sessions.
type memory struct {
	sessions int
	resident int64 // bytes
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
	f.memory = append(f.memory, memory{len(f.devices), u.resident})
	return nil
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
	met := true
	texts := []string{fmt.Sprintf("none: %s", megabytes(f.memory[0].resident))}
	for _, m := range f.memory[1:] {
		each := perSession(f.memory[0], m)
		met = met && each <= target
		texts = append(texts, fmt.Sprintf("%d: %s, %.0f kB each", m.sessions, megabytes(m.resident), float64(each)/1e3))
	}
	return []row{{
		what:     "memory per idle live session",
		measured: strings.Join(texts, "; "),
		target:   "≤ 250 kB",
		met:      met,
		how: fmt.Sprintf("resident memory of a connector process, what it takes without sessions subtracted; sessions paired in it and connected to the simulated service, nothing said for %s",
			b.settle),
	}}, nil
}
