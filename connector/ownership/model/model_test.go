package model

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// large says that MODEL_SIZE=large asks for the wide bounds, which take minutes
// and some gigabytes.
var large = os.Getenv("MODEL_SIZE") == "large"

// limit is more than any of the small searches has; one that meets it has grown
// out of make test.
func limit() int {
	if large {
		return 0
	}
	return 1_500_000
}

func explore(t *testing.T, b Bounds, r Rules, l Limits) Result {
	t.Helper()
	start := time.Now()
	l.States = limit()
	found, err := Search(b, r, l)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d states, %d steps deep, %s", found.States, found.Depth, time.Since(start).Round(time.Millisecond))
	return found
}

// TestProtocolKeepsItsPromises explores every scenario with all rules in.
func TestProtocolKeepsItsPromises(t *testing.T) {
	var mu sync.Mutex
	var total Result
	done := 0
	t.Run("search", func(t *testing.T) {
		for _, s := range Scenarios {
			t.Run(s.Name, func(t *testing.T) {
				if !large {
					t.Parallel() // the wide ones need all the memory for themselves
				}
				bounds := s.Bounds
				if large {
					bounds = s.Large
				}
				found := explore(t, bounds, Rules{}, Limits{})
				if v := found.Violation; v != nil {
					t.Errorf("%s is broken:\n%s", v.Invariant, strings.Join(v.Trace, "\n"))
				}
				mu.Lock()
				defer mu.Unlock()
				done++
				for op, n := range found.Ops {
					total.Ops[op] += n
				}
				for start, n := range found.Starts {
					total.Starts[start] += n
				}
			})
		}
	})
	if done == len(Scenarios) { // not where -run picked some
		checkCoverage(t, &total)
	}
}

// checkCoverage makes sure that the searches said something: a step that was
// never taken proves nothing.
func checkCoverage(t *testing.T, total *Result) {
	t.Helper()
	mutationsOnly := map[Op]bool{OpJudge: true, OpRefused: true}
	for op := OpAct; op < NumOps; op++ {
		if total.Ops[op] == 0 && !mutationsOnly[op] {
			t.Errorf("no search took a step of kind %d (%s)", op, plain[op])
		}
	}
	for _, start := range []Start{StartExact, StartOwnFile, StartSafe, StartLocal} {
		if total.Starts[start] == 0 {
			t.Errorf("no search started a term %s", startNames[start])
		}
	}
}

// TestEachRuleIsNeeded takes out one rule after the other, and expects the
// search to find what is lost without it, by the way that testdata/traces.txt
// tells. MODEL_UPDATE=1 writes that file anew.
func TestEachRuleIsNeeded(t *testing.T) {
	traces := make([]string, len(Mutations))
	t.Run("without", func(t *testing.T) {
		for i, m := range Mutations {
			t.Run(m.Name, func(t *testing.T) {
				t.Parallel()
				traces[i] = withoutRule(t, m)
			})
		}
	})
	if t.Failed() {
		return
	}
	got := strings.Join(traces, "\n")
	if os.Getenv("MODEL_UPDATE") != "" {
		if err := os.WriteFile(tracesFile, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(tracesFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("traces (-%s +found):\n%s", tracesFile, diff)
	}
}

const tracesFile = "testdata/traces.txt"

// withoutRule expects every invariant that the mutation names to break, and
// tells how.
func withoutRule(t *testing.T, m Mutation) string {
	t.Helper()
	text := fmt.Sprintf("== %s (%s)\n", m.Name, m.Rule)
	if len(m.Breaks) == 0 {
		if v := explore(t, m.Bounds, m.Rules, Limits{}).Violation; v != nil {
			t.Errorf("%s is broken; DESIGN.md says that nothing is:\n%s", v.Invariant, strings.Join(v.Trace, "\n"))
		}
		return text + "nothing is broken\n"
	}
	depth := 0
	for _, want := range m.Breaks {
		v := explore(t, m.Bounds, m.Rules, Limits{Only: want}).Violation
		if v == nil {
			t.Errorf("no search finds %s broken", want)
			continue
		}
		text += fmt.Sprintf("%s, %d steps\n%s\n", v.Invariant, len(v.Trace), strings.Join(v.Trace, "\n"))
		if depth == 0 || len(v.Trace) < depth {
			depth = len(v.Trace)
		}
	}
	// With the rule nothing is broken as far as that.
	if v := explore(t, m.Bounds, Rules{}, Limits{Depth: depth}).Violation; v != nil {
		t.Errorf("with the rule %s is broken too", v.Invariant)
	}
	return text
}

// TestCopyOfARunningConnector shows the one window that OneActor leaves open: a
// data directory copied to another machine while its connector runs, and started
// there. DESIGN.md says what still holds then.
func TestCopyOfARunningConnector(t *testing.T) {
	bounds := small(func(b *Bounds) { b.Clone, b.Copies, b.Faults = true, 1, 0 })
	v := explore(t, bounds, Rules{}, Limits{Only: OneActor}).Violation
	if v == nil {
		t.Fatal("OneActor holds: then DESIGN.md is out of date")
	}
	t.Log(strings.Join(v.Trace, "\n"))
}

// TestTracesAreShortest holds the search to a violation whose shortest trace is
// known: who believes too long is caught by the first take.
func TestTracesAreShortest(t *testing.T) {
	found := explore(t, small(func(*Bounds) {}), Rules{LeaseOutlives: true}, Limits{})
	if found.Violation == nil || found.Violation.Invariant != OneActor {
		t.Fatalf("found %+v", found.Violation)
	}
	var last string
	for i, line := range found.Violation.Trace {
		if !strings.HasPrefix(line, fmt.Sprintf("%2d. ", i+1)) {
			t.Errorf("step %d reads %q", i+1, line)
		}
		last = line
	}
	if len(found.Violation.Trace) != 4 || !strings.Contains(last, "B takes epoch 2, start safe") {
		t.Errorf("shortest trace:\n%s", strings.Join(found.Violation.Trace, "\n"))
	}
}
