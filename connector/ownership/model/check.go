package model

import (
	"errors"
	"fmt"
)

// Result is what a search found.
type Result struct {
	States    int
	Depth     int
	Ops       [NumOps]int    // how often each kind of step was taken
	Starts    [numStarts]int // how often a term was built that starts so
	Violation *Violation     // nil: none
}

// Violation is a shortest way to a state that breaks an invariant.
type Violation struct {
	Invariant Invariant
	Trace     []string
}

// ErrTooMany tells that a search met its limit of states before it was through.
var ErrTooMany = errors.New("more states than the limit")

// node remembers how a state was reached.
type node struct {
	parent int32
	step   int32 // which successor of parent it is
}

// search visits every state that the bounds allow, breadth first, and stops at
// the first that breaks an invariant. States are remembered by a hash of 128
// bits.
type search struct {
	*machine
	hash   hasher
	seen   map[[2]uint64]struct{}
	nodes  []node
	limits Limits
	out    Result
}

// Limits of a search; zero values are no limits.
type Limits struct {
	Only   Invariant // the invariant to look for, 0 for all
	Depth  int       // steps
	States int       // ErrTooMany when there are more
}

// Search explores all behaviours within the bounds under the rules.
func Search(b Bounds, r Rules, l Limits) (Result, error) {
	s := search{
		machine: &machine{bounds: b, rules: r, only: l.Only}, hash: newHasher(b),
		seen: map[[2]uint64]struct{}{}, limits: l,
	}
	return s.run()
}

// reached is a state of the present depth.
type reached struct {
	state State
	node  int32
}

// level holds the states of one depth, in blocks that needn't be moved to grow.
type level [][]reached

const blockSize = 512

func (l *level) add(r *reached) {
	if n := len(*l); n == 0 || len((*l)[n-1]) == blockSize {
		*l = append(*l, make([]reached, 0, blockSize))
	}
	last := &(*l)[len(*l)-1]
	*last = append(*last, *r)
}

func (s *search) run() (Result, error) {
	first := initial(s.bounds)
	s.remember(&first, node{parent: -1})
	var now level
	now.add(&reached{first, 0})
	for depth := 1; ; depth++ {
		var next level
		for i, block := range now {
			for k := range block {
				if broken, at := s.expand(&block[k], &next); broken != 0 {
					s.out.Violation = &Violation{Invariant: broken, Trace: s.trace(at)}
					return s.result(depth), nil
				}
			}
			now[i] = nil // its memory may go
		}
		switch {
		case s.limits.States > 0 && len(s.nodes) > s.limits.States:
			return s.result(depth), fmt.Errorf("search at depth %d: %w", depth, ErrTooMany)
		case depth == s.limits.Depth:
			return s.result(depth), nil
		case len(next) == 0:
			return s.result(depth - 1), nil
		}
		now = next
	}
}

// expand adds the states that follow from one to next.
func (s *search) expand(from *reached, next *level) (broken Invariant, at int32) {
	count := int32(0)
	s.successors(&from.state, func(taken Step, to *State) {
		step := count
		count++
		s.out.Ops[taken.Op]++
		if taken.Op == OpBuild {
			s.out.Starts[to.Procs[taken.Proc].Term.Start]++
		}
		if broken != 0 || !s.remember(to, node{parent: from.node, step: step}) {
			return
		}
		id := int32(len(s.nodes) - 1)
		if broken = s.check(&from.state, to); broken != 0 {
			at = id
			return
		}
		next.add(&reached{*to, id})
	})
	return broken, at
}

// remember reports whether the state is new.
func (s *search) remember(st *State, n node) bool {
	key := s.hash.of(st)
	if _, ok := s.seen[key]; ok {
		return false
	}
	s.seen[key] = struct{}{}
	s.nodes = append(s.nodes, n)
	return true
}

func (s *search) result(depth int) Result {
	s.out.States, s.out.Depth = len(s.nodes), depth
	return s.out
}
