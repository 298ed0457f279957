package replicate

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"cloudsession/shared/cloudstore"
)

// refusing refuses the first bases of some sessions for good, and knows of which ones it saw any.
type refusing struct {
	*memory
	prefix string

	mu     sync.Mutex
	seen   map[string]bool
	accept bool
}

func (r *refusing) AppendFirstBase(ctx context.Context, last cloudstore.Segment, c cloudstore.Credentials) (cloudstore.Outcome, error) {
	r.mu.Lock()
	refused := !r.accept && strings.HasPrefix(last.SessionID, r.prefix)
	if refused {
		r.seen[last.SessionID] = true
	}
	r.mu.Unlock()
	if refused {
		return cloudstore.Absent, fmt.Errorf("row of %s: %w", last.SessionID, cloudstore.ErrBadInput)
	}
	return r.memory.AppendFirstBase(ctx, last, c)
}

func (r *refusing) heal() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.accept = true
}

// Sessions whose bases are refused for good don't keep the others of their lane from theirs.
func TestRefusedBasesKeepNobodyWaiting(t *testing.T) {
	store := &refusing{memory: newMemory(), prefix: "bad", seen: map[string]bool{}}
	g := newRig(t, store, func(o *Options) { o.Lanes = 1 })
	g.pair("bad1", 1)
	g.pair("bad2", 2)
	for i := range 3 {
		g.pair(fmt.Sprint("good", i), uint64(3+i)).flush()
	}
}

// However many are refused, few of them are in memory at once; the rest gets its turn when those end.
func TestRefusedBasesAreFew(t *testing.T) {
	store := &refusing{memory: newMemory(), prefix: "bad", seen: map[string]bool{}}
	g := newRig(t, store, func(o *Options) { o.Lanes = 1 })
	const sessions = 50
	var all []*live
	for i := range sessions {
		all = append(all, g.pair(fmt.Sprint("bad", i), uint64(i)))
	}
	slots := &g.repl.lanes[0].slots
	g.await("all slots to be taken or waited for", func() bool {
		slots.mu.Lock()
		defer slots.mu.Unlock()
		return slots.parked == maxParked && slots.free == 0 && len(slots.waiting) == sessions-maxParked-slotsPerLane
	})
	store.mu.Lock()
	if n := len(store.seen); n > maxParked+slotsPerLane {
		t.Errorf("bases of %d sessions were in the lane at once", n)
	}
	store.mu.Unlock()
	all[0].repl.Close() // whatever it held comes free
	store.heal()
	for _, l := range all[1:] {
		l.flush()
	}
	slots.mu.Lock()
	defer slots.mu.Unlock()
	if slots.parked != 0 || slots.free != slotsPerLane {
		t.Errorf("%d slots are parked and %d free, though nobody needs any", slots.parked, slots.free)
	}
}
