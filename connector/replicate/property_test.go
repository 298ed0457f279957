package replicate

import (
	"context"
	"fmt"
	mathrand "math/rand/v2"
	"testing"
	"time"
)

// TestRandomRuns: whatever whatsmeow's store does, wherever it is cut, whatever the database loses:
// once a flush has returned, a restore into an empty folder has the same rows. Runs hand the session
// on between exact, own-file and safe starts, compact and prune.
func TestRandomRuns(t *testing.T) {
	seed := testSeed(t)
	t.Run("memory", func(t *testing.T) {
		for i := range uint64(12/stride + 1) {
			t.Run(fmt.Sprint(i), func(t *testing.T) { randomRun(t, newMemory(), "personal", seed+i, 6) })
		}
	})
	t.Run("tidb", func(t *testing.T) {
		c := newTiDB(t)
		for i := range uint64(2) {
			t.Run(fmt.Sprint(i), func(t *testing.T) { randomRun(t, c, fmt.Sprint("personal", i), seed+100+i, 4) })
		}
	})
}

func randomRun(t *testing.T, c cloud, id string, seed uint64, rounds int) {
	rnd := mathrand.New(mathrand.NewPCG(seed, 1))
	g := newRig(t, c, func(o *Options) {
		o.CompactBytes, o.KeepBases = 32<<10, 1+rnd.IntN(3)
		o.GroupBytes = 4 << 10
		o.StatementTimeout = 20 * time.Second
	})
	l := g.pair(id, seed)
	for round := range rounds {
		g.store.set(flaky(seed + uint64(round)))
		for range 1 + rnd.IntN(8) {
			l.steps(rnd.IntN(30))
			if rnd.IntN(3) == 0 {
				g.must(l.repl.WaitDurable(g.limit()))
			}
		}
		end := rnd.IntN(3)
		switch end {
		case 0: // cut, and on with the own file
			before := g.dump(l.file)
			g.crash()
			g.store.set(nil)
			l = l.restart(g.boot)
			g.equal(fmt.Sprintf("seed %d, round %d, own file", seed, round), before, g.dump(l.file))
		case 1:
			l.retry(l.handOff)
		case 2:
			l.retry(func() error { return l.repl.Flush(g.limit()) })
			g.crash()
		}
		g.store.set(nil)
		if end == 0 {
			l.flush()
			continue
		}
		want := g.dump(l.file)
		taken, path, found := g.restored(id, "")
		if exact := taken.Start == StartExact; exact != (end == 1) {
			t.Fatalf("start %s after ending %d", taken.Start, end)
		}
		g.equal(fmt.Sprintf("seed %d, round %d, ending %d", seed, round, end), want, g.dumpAt(path))
		l = g.resume(taken, path, found, rnd.Uint64())
		if taken.Start == StartSafe {
			l.flush() // O5: nothing happens in a safe term before its base is durable
		}
	}
}

// retry gives a command again whose reads met a fault.
func (l *live) retry(do func() error) {
	l.Helper()
	for try := 0; ; try++ {
		err := do()
		if err == nil {
			return
		}
		if try == 20 {
			l.Fatal(err)
		}
	}
}

// flaky loses one call in six, and the answer of another one.
func flaky(seed uint64) func(context.Context, string, []string) fault {
	faults := make(chan fault, 1<<10)
	rnd := mathrand.New(mathrand.NewPCG(seed, 2))
	for range cap(faults) {
		faults <- [...]fault{lost, lostPersisted, fine, fine, fine, fine}[rnd.IntN(6)]
	}
	return func(context.Context, string, []string) fault {
		select {
		case f := <-faults:
			return f
		default:
			return fine
		}
	}
}
