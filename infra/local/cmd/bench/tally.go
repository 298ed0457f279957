package main

import (
	"context"
	"errors"
	"fmt"

	"cloudsession/infra/local/rig"
)

// tally sums up what happened to the messages of all measurements that can see it.
type tally struct {
	from                []string // which measurements
	texts               int      // followed from writer to reader
	lost, twice, reused int
	dropped             int // copies that a phone dropped without a word: their key was used before
}

// note adds what f's service and the traffic over it have seen.
func (t *tally) note(name string, f *fleet, counts ...rig.Count) {
	t.from = append(t.from, name)
	for _, c := range counts {
		t.texts, t.lost, t.twice = t.texts+c.Texts, t.lost+c.Lost, t.twice+c.Twice
	}
	service := f.WhatsApp.Counters()
	t.reused += service.KeysReused
	t.dropped += service.OldCounter
}

func (t *tally) clean() bool { return t.lost == 0 && t.twice == 0 && t.reused == 0 && t.dropped == 0 }

// losses sums up what the measurements before it have seen.
func losses(b *bench, _ context.Context) ([]row, error) {
	t := &b.tally
	if t.texts == 0 {
		return nil, errors.New("no message was followed: measure handoff or failover as well")
	}
	return []row{{
		what:     "messages lost in silence, shown twice, keys reused, over every path tried",
		measured: fmt.Sprintf("%d, %d, %d of %d texts; dropped by phones as old: %d", t.lost, t.twice, t.reused, t.texts, t.dropped),
		target:   "0",
		met:      t.clean(),
		how: fmt.Sprintf("every text of %s followed from its writer to the screen, in both directions; reused keys and what phones drop as old are watched by the simulated service over all messages; `make chaos` and the crash matrix look for more",
			joined(t.from)),
	}}, nil
}
