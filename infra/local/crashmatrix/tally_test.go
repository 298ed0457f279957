package crashmatrix_test

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
)

// tally keeps which cases came to the statement that was to go wrong. The zero
// value is ready.
type tally struct {
	mu     sync.Mutex
	ran    map[string]bool // by statement: whether a case that ran came to it
	cases  int
	missed []string // cases that did not
}

func (n *tally) note(c matrixCase, reached bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ran == nil {
		n.ran = map[string]bool{}
	}
	n.cases++
	// How many pushes an operation takes is up to the clock: a later one counts, and
	// need not be there.
	if at := c.fault.at; at.nth == 1 || !strings.HasPrefix(at.digest, "INSERT INTO session_segments") {
		n.ran[c.step()] = n.ran[c.step()] || reached
	}
	if !reached {
		n.missed = append(n.missed, c.name())
	}
}

// never tells whether no case that ran came to the statement of one that must.
func (n *tally) never(c matrixCase) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	reached, counts := n.ran[c.step()]
	return counts && !reached
}

// check reports what was not reached. In a whole run every statement must go wrong
// in one of its cases at least. In a sample a statement may have a single case, so
// there only so many may come to nothing: of 1662 cases 9 did, in which what happens
// by the clock came earlier or later than when the statements were written down.
func (n *tally) check(t testing.TB, whole bool) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	slices.Sort(n.missed)
	t.Logf("%d cases ran, the statement was not reached in %d: %q", n.cases, len(n.missed), n.missed)
	if most := 3 + n.cases/40; len(n.missed) > most {
		t.Errorf("%d statements were not reached, more than %d: the operations are not repeatable", len(n.missed), most)
	}
	if !whole {
		return
	}
	for _, step := range slices.Sorted(maps.Keys(n.ran)) {
		if !n.ran[step] {
			t.Errorf("no case reached %s: nothing is known of its failing", step)
		}
	}
}

func TestTally(t *testing.T) {
	of := func(number int, m mode) matrixCase {
		return matrixCase{operation{name: "op"}, number, fault{at: step{"COMMIT", 1}, mode: m}, endings[0]}
	}
	var n tally
	n.note(of(1, fails), false)
	n.note(of(1, tookEffect), true)
	n.check(t, true)
	n.note(of(2, fails), false)
	n.check(t, false)
	w := &witness{TB: t}
	if !w.sees(func() { n.check(w, true) }, "no case reached op/02-commit") {
		t.Errorf("a statement that never failed was not seen: %q", w.failures)
	}
	for number := range 3 {
		n.note(of(number, fails), false)
	}
	if !w.sees(func() { n.check(w, false) }, "5 statements were not reached") {
		t.Errorf("too many unreached statements were not seen: %q", w.failures)
	}
}
