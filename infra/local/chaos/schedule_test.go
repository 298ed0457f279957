package chaos

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudsession/infra/local/faultproxy"
)

// A seed makes the same schedule every time, and seeds make different ones.
func TestGenerate(t *testing.T) {
	kinds := map[Kind]int{}
	for seed := range uint64(400) {
		s := Generate(seed, DefaultMachines, DefaultLines)
		if diff := cmp.Diff(s, Generate(seed, DefaultMachines, DefaultLines)); diff != "" {
			t.Fatalf("seed %d makes two schedules:\n%s", seed, diff)
		}
		deletes, losesDisk := false, false
		for i, a := range s.Actions {
			kinds[a.Kind]++
			if a.At < 0 || a.At > s.Length || i > 0 && a.At < s.Actions[i-1].At {
				t.Errorf("seed %d: %v is out of place", seed, a)
			}
			if a.Machine >= DefaultMachines || a.Line >= DefaultLines {
				t.Errorf("seed %d: %v is done to nobody", seed, a)
			}
			if linked := slices.Contains([]Kind{Cut, Silence, Part, Slow}, a.Kind); linked != (a.Link != "") {
				t.Errorf("seed %d: %v: link %q", seed, a, a.Link)
			}
			for _, b := range s.Actions[:i] {
				if a.hasProcess() && b.hasProcess() && a.Machine == b.Machine && a.At < b.At+b.For+b.Away {
					t.Errorf("seed %d: %v is skipped: the machine has %v", seed, a, b)
				}
			}
			if (a.Kind == KillPast) != (a.Away > 11*time.Second) {
				t.Errorf("seed %d: %v is away for %v", seed, a, a.Away)
			}
			deletes = deletes || a.Kind == Delete
			losesDisk = losesDisk || a.Kind.losesDisk()
		}
		if deletes && losesDisk {
			t.Errorf("seed %d takes away a session's only copy:\n%v", seed, s)
		}
	}
	for _, c := range choices {
		if kinds[c.kind] == 0 {
			t.Errorf("no seed of 400 has %q", c.kind)
		}
	}
}

// What runs in each test holds what its name says.
func TestFixedSeed(t *testing.T) {
	wanted := map[string]func(Action) bool{
		"a kill -9":               func(a Action) bool { return a.Kind == KillSame || a.Kind == KillEmpty },
		"a freeze past the lease": func(a Action) bool { return a.Kind == Freeze && a.For > 11*time.Second },
		"a half-open link":        func(a Action) bool { return a.Kind == Silence },
		"a restore":               func(a Action) bool { return a.Kind == Restore || a.Kind == MoveTo },
		"a DELETE":                func(a Action) bool { return a.Kind == Delete },
	}
	s := Generate(fixedSeed, DefaultMachines, DefaultLines)
	for what, is := range wanted {
		if !slices.ContainsFunc(s.Actions, is) {
			t.Errorf("seed %d has no %s:\n%v", fixedSeed, what, s)
		}
	}
}

// What is said around a session is the seed's, in whatever order its parts begin.
func TestVoices(t *testing.T) {
	draw := func(order ...int) (drawn [2]uint64) {
		var begin []func()
		part := func(i int) func(*rand.Rand) { return func(r *rand.Rand) { drawn[i] = r.Uint64() } }
		Schedule{Seed: 7}.voices(3, func(do func()) { begin = append(begin, do) }, part(0), part(1))
		for _, i := range order {
			begin[i]()
		}
		return drawn
	}
	if a, b := draw(0, 1), draw(1, 0); a != b {
		t.Errorf("the parts draw %d, begun the other way round %d", a, b)
	}
}

// What a violation says to play again is the schedule that it was found in.
func TestReplay(t *testing.T) {
	for _, s := range []Schedule{Loss(), Generate(7, DefaultMachines, DefaultLines)} {
		said := (&Violation{Schedule: s}).Error()
		_, seed, _ := strings.Cut(said, "SEED=")
		seed, _, _ = strings.Cut(seed, " ")
		again, err := Named(seed)
		if err != nil {
			t.Fatal(err)
		}
		for got := range again {
			if diff := cmp.Diff(s, got); diff != "" {
				t.Errorf("SEED=%s plays another schedule:\n%s", seed, diff)
			}
			break
		}
	}
}

// Of the statements that change something every second one is hit, the others
// and all that only read go through.
func TestCommitLoser(t *testing.T) {
	var c commitLoser
	insert := faultproxy.Statement{Kind: faultproxy.Execute, Text: "INSERT INTO t (a) VALUES (?)"}
	if v := c.judge(insert); v.Action != faultproxy.Pass {
		t.Errorf("without a fault: %v", v.Action)
	}
	c.loseAnswers()
	for i, want := range []faultproxy.Action{faultproxy.FailAfter, faultproxy.Pass, faultproxy.FailAfter} {
		if v := c.judge(insert); v.Action != want {
			t.Errorf("statement %d: %v, want %v", i, v.Action, want)
		}
		if v := c.judge(faultproxy.Statement{Kind: faultproxy.Query, Text: "SELECT 1"}); v.Action != faultproxy.Pass {
			t.Errorf("a read was hit: %v", v.Action)
		}
	}
	c.stop()
	c.holdWrites()
	c.judge(insert)
	v := c.judge(faultproxy.Statement{Kind: faultproxy.Query, Text: "commit"})
	if v.Action != faultproxy.LateCut {
		t.Fatalf("a held write: %v, want LateCut", v.Action)
	}
	c.stop()
	select {
	case <-v.Until:
	case <-time.After(2 * time.Minute):
		t.Error("the end of the fault does not let a held write go")
	}
}

func TestFirstDifferences(t *testing.T) {
	a := map[string][]string{"t": {"1", "2"}, "u": nil}
	if d := firstDifferences(a, map[string][]string{"t": {"1", "2"}, "u": nil}); d != "" {
		t.Errorf("no difference, got %s", d)
	}
	if d := firstDifferences(a, map[string][]string{"t": {"1", "3"}, "u": nil}); d != "  - t 2\n  + t 3\n" {
		t.Errorf("got %q", d)
	}
	if d := firstDifferences(a, map[string][]string{"t": {"1", "2", "2"}, "u": nil}); d == "" {
		t.Error("a row that is there twice went unnoticed")
	}
}
