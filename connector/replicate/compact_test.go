package replicate

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cloudsession/shared/cloudstore"
)

// bases counts the complete bases in the lineage that ends with epoch.
func (g *rig) bases(id string, epoch uint64) (n int) {
	g.Helper()
	g.must(walk(g.ctx(), g.store, id, epoch, allRows, func(e lineageEpoch) bool {
		n += len(e.completeBases())
		return true
	}))
	return n
}

func TestCompactionAndPruning(t *testing.T) {
	onBoth(t, func(t *testing.T, c cloud) {
		g := newRig(t, c, func(o *Options) {
			// A prune that is cut short is left to the next base, and the last one has none behind it.
			o.CompactBytes, o.KeepBases, o.StatementTimeout = 16<<10, 3, patience
		})
		l := g.pair("personal", 1)
		l.flush()
		for i := range 40 { // each delta a fifth of what is worth a base
			l.bulk(3<<10, i%2)
			g.must(l.repl.WaitDurable(g.limit()))
		}
		l.flush()
		// Pruning follows a base by itself: wait for the last one.
		g.await("the log to be pruned", func() bool { return g.bases(l.id, 1) <= 3 })
		heads := rowsOfEpoch(g, l.id, 1)
		if first := heads[0]; first.Seq == 1 || first.Kind != cloudstore.KindBase {
			t.Errorf("the log begins with row %d, a %s", first.Seq, first.Kind)
		}
		want := g.dump(l.file)
		g.crash()
		taken, path, found := g.restored(l.id, "")
		g.equal("after compaction and pruning", want, g.dumpAt(path))
		if found.Log.BaseBytes == 0 || found.Log.DeltaBytes > 4*16<<10 {
			t.Errorf("log weighs %+v", found.Log)
		}

		// A term may prune what is older only once it has a base of its own.
		l = g.resume(taken, path, found, 1)
		l.flush()
		if _, err := g.repl.prune(t.Context(), pruneJob{l.id, taken.Epoch, 1}); err != nil {
			t.Fatal(err)
		}
		if n := g.bases(l.id, taken.Epoch); n != 1 {
			t.Errorf("%d bases left of 1", n)
		}
		want = g.dump(l.file)
		_, path, _ = g.restored(l.id, "")
		g.equal("after pruning everything before the base", want, g.dumpAt(path))
	})
}

// A compaction that finds no slot free doesn't hold up the session's deltas; it
// follows when one is.
func TestCompactionWaitsForASlotAlone(t *testing.T) {
	g := newRig(t, newMemory(), func(o *Options) { o.Lanes, o.CompactBytes = 1, 8<<10 })
	l := g.pair("personal", 1)
	l.flush()
	slots := &g.repl.lanes[0].slots
	for range slotsPerLane {
		if !slots.acquire(nil) {
			t.Fatal("a slot is taken")
		}
	}
	for i := range 10 {
		l.bulk(3<<10, i%2)
		g.must(l.repl.WaitDurable(g.limit()))
	}
	if n := g.bases(l.id, 1); n != 1 {
		t.Fatalf("%d bases without a slot", n)
	}
	slots.release()
	l.bulk(3<<10, 0)
	l.flush()
	if n := g.bases(l.id, 1); n != 2 {
		t.Errorf("%d bases after a slot came free", n)
	}
}

func TestNoPruningBeforeOwnBase(t *testing.T) {
	g := newRig(t, newMemory())
	l := g.pair("personal", 1)
	for range 3 {
		g.must(l.repl.Rebase(g.limit(), false))
	}
	g.must(l.handOff())
	taken, path, found := g.restored(l.id, "")
	l = g.resume(taken, path, found, 1)
	l.steps(20)
	l.flush()
	rows, err := g.repl.prune(t.Context(), pruneJob{l.id, taken.Epoch, 1})
	if err != nil || rows != 0 {
		t.Errorf("pruned %d rows before the term had a base: %v", rows, err)
	}
}

// TestOldRestorePointsGo: the smaller of so many bases and so many days.
func TestOldRestorePointsGo(t *testing.T) {
	for _, test := range []struct {
		days, keep, want int
	}{{100, 10, 4}, {100, 2, 2}, {3, 10, 2}, {0, 10, 1}} {
		t.Run(fmt.Sprint(test), func(t *testing.T) {
			m := newMemory()
			g := newRig(t, m, func(o *Options) {
				o.KeepBases, o.KeepFor = 100, time.Duration(test.days)*24*time.Hour+time.Hour
			})
			l := g.pair("personal", 1)
			l.flush()
			for range 3 {
				m.mu.Lock()
				m.now = m.now.Add(48 * time.Hour)
				m.mu.Unlock()
				g.must(l.repl.Rebase(g.limit(), false))
			}
			if _, err := g.repl.prune(t.Context(), pruneJob{l.id, 1, test.keep}); err != nil {
				t.Fatal(err)
			}
			if n := g.bases(l.id, 1); n != test.want {
				t.Errorf("%d bases left, not %d", n, test.want)
			}
		})
	}
}

func TestLongLineageGetsBase(t *testing.T) {
	g := newRig(t, newMemory())
	l := g.pair("personal", 1)
	g.must(l.handOff())
	taken, path, found := g.restored(l.id, "")
	found.Log.Epochs = maxEpochs + 1
	l = g.resume(taken, path, found, 1)
	l.bulk(100, 0)
	l.flush()
	if heads := rowsOfEpoch(g, l.id, taken.Epoch); len(heads) == 0 || heads[0].Kind != cloudstore.KindBase {
		t.Errorf("rows after %d epochs: %v", maxEpochs, heads)
	}
}

// A session whose process is always killed goes on with its own file, term after term. What its log
// weighs is not forgotten in between: deltas of many terms add up to a compaction, and a big base isn't
// replaced for a few deltas.
func TestOwnFileTermsKnowTheLog(t *testing.T) {
	g := newRig(t, newMemory(), func(o *Options) { o.CompactBytes = 32 << 10 })
	again := func(l *live) *live {
		l.flush()
		g.crash()
		if l = l.restart(g.boot); l.taken.Start != StartOwnFile {
			t.Fatalf("start %s", l.taken.Start)
		}
		return l
	}
	l := g.pair("often", 1)
	for i := range 10 {
		l.bulk(5<<10, i%2)
		l = again(l)
	}
	if n := g.bases(l.id, l.taken.Epoch-1); n < 2 {
		t.Errorf("%d bases after deltas of ten terms", n)
	}

	l = g.pair("big", 2)
	l.bulk(300<<10, 0)
	l = again(l)
	g.must(l.repl.Rebase(g.limit(), true))
	for i := range 2 {
		l = again(l)
		for range 10 {
			l.bulk(5<<10, i)
			g.must(l.repl.WaitDurable(g.limit()))
		}
	}
	l.flush()
	if n := g.bases(l.id, l.taken.Epoch); n != 1 {
		t.Errorf("%d bases, though the deltas weigh less than the first", n)
	}
}

// A base that can't be made is left for later: the deltas go on without it, and the log says so once.
func TestCompactionThatFailsStopsNoDeltas(t *testing.T) {
	for _, why := range []string{"credentials", "too large"} {
		t.Run(why, func(t *testing.T) {
			var broken atomic.Bool
			var log recorder
			g := newRig(t, newMemory(), func(o *Options) {
				o.Lanes, o.CompactBytes, o.Log = 1, 16<<10, log.logger()
				o.Coalesce = time.Hour // nothing is pushed before it is waited for
				o.Credentials = func(ctx context.Context, db *sql.DB) ([]byte, error) {
					if broken.Load() {
						return nil, errors.New("no credentials today")
					}
					return testCredentials(ctx, db)
				}
				if why == "too large" {
					o.MaxBase = 300 << 10
				}
			})
			l := g.pair("personal", 1)
			l.flush()
			g.must(l.handOff())
			taken, path, found := g.restored(l.id, "")
			l = g.resume(taken, path, found, 1) // its term has no base yet
			l.flush()
			broken.Store(why == "credentials")
			for i := range 12 {
				l.bulk(60<<10, i)
				g.must(l.repl.WaitDurable(g.limit()))
			}
			if n := g.bases(l.id, taken.Epoch); n > 2 { // one more while it was small enough
				t.Errorf("%d bases", n)
			}
			want := g.dump(l.file)
			var lines []string
			for _, line := range log.lines() {
				if strings.HasPrefix(line, "ERROR") {
					lines = append(lines, line)
				}
			}
			if len(lines) != 1 {
				t.Errorf("logged: %q", lines)
			}
			_, path, _ = g.restored(l.id, "")
			g.equal("without a compaction", want, g.dumpAt(path))
		})
	}
}

// What kept a base from being made may pass: after a pause it is tried again.
func TestCompactionIsTriedAgain(t *testing.T) {
	var broken atomic.Bool
	g := newRig(t, newMemory(), func(o *Options) {
		o.Lanes, o.CompactBytes, o.CompactPause = 1, 16<<10, 100*time.Millisecond
		o.Credentials = func(ctx context.Context, db *sql.DB) ([]byte, error) {
			if broken.Load() {
				return nil, errors.New("no credentials today")
			}
			return testCredentials(ctx, db)
		}
	})
	l := g.pair("personal", 1)
	l.flush()
	g.must(l.handOff())
	taken, path, found := g.restored(l.id, "")
	l = g.resume(taken, path, found, 1)
	l.flush()
	broken.Store(true)
	for i := range 12 {
		l.bulk(60<<10, i)
		g.must(l.repl.WaitDurable(g.limit()))
	}
	if n := g.bases(l.id, taken.Epoch); n != 1 {
		t.Errorf("%d bases while none can be made", n)
	}
	broken.Store(false)
	limit := g.limit()
	for i := 0; g.bases(l.id, taken.Epoch) < 2; i++ {
		l.bulk(100, i%2)
		g.must(l.repl.WaitDurable(limit))
	}
}
