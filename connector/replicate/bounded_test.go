package replicate

import (
	"context"
	"fmt"
	"testing"
)

// What waits while the database is away is bounded by the state's size, not by
// time: thousands of changes to the same rows are one change of each row, on disk
// and in what is sent afterwards.
func TestWhatWaitsIsBounded(t *testing.T) {
	onBoth(t, func(t *testing.T, c cloud) {
		g := newRig(t, c)
		l := g.pair("personal", 1)
		const rows, size, rounds = 40, 1 << 10, 100
		round := func() {
			t.Helper()
			for i := range rows {
				g.must(l.ops.Device.Sessions.PutSession(t.Context(), fmt.Sprintf("peer%d:0", i), noise(size)))
			}
		}
		round()
		l.flush()
		before := l.repl.Status()

		g.store.set(func(context.Context, string, []string) fault { return lost })
		for range rounds {
			round()
		}
		if !l.repl.Status().Pending {
			t.Error("nothing is pending")
		}
		// A row is noted once for the push that is under way, and once for the next.
		if n := l.dirty(); n > 2*rows {
			t.Errorf("%d changes are noted, of %d rows", n, rows)
		}
		want := g.dump(l.file)
		g.store.set(nil)
		l.flush()

		after := l.repl.Status()
		// One push was under way when the database went, one takes the rest.
		if n := after.Pushes - before.Pushes; n > 2 {
			t.Errorf("%d pushes for what waited, want two at most", n)
		}
		if sent, limit := after.PushedBytes-before.PushedBytes, int64(2*rows*(size+512)); sent > limit {
			t.Errorf("%d bytes for what waited, want at most %d: %d changes of %d bytes were made", sent, limit, rounds*rows, size)
		}
		if n := l.dirty(); n != 0 {
			t.Errorf("%d changes are still noted", n)
		}
		_, path, _ := g.restored(l.id, "")
		g.equal("after the outage", want, g.dumpAt(path))
	})
}

// After an outage every session has much to push. They take turns, so that what
// is in memory doesn't grow with their number.
func TestBacklogsArePushedInTurns(t *testing.T) {
	g := newRig(t, newMemory(), func(o *Options) { o.Lanes = 1 })
	var all []*live
	for i := range 8 {
		l := g.pair(fmt.Sprint("s", i), uint64(i))
		l.flush()
		all = append(all, l)
	}
	g.store.set(func(context.Context, string, []string) fault { return lost })
	for _, l := range all {
		l.bulk(3*shortDelta, 0)
		l.bulk(3*shortDelta, 1) // the first may be under way already
	}
	lane := g.repl.lanes[0]
	var units, waiting, long int
	g.await("each session to have a push in the lane, or to wait for its turn", func() bool {
		lane.mu.Lock()
		units, long = len(lane.rows), 0
		for _, u := range lane.rows {
			if weightOf(u.segs) > shortDelta {
				long++
			}
		}
		lane.mu.Unlock()
		lane.slots.mu.Lock()
		waiting = len(lane.slots.waiting)
		lane.slots.mu.Unlock()
		return units+waiting >= len(all)
	})
	if long > slotsPerLane {
		t.Errorf("%d long deltas in memory at once", long)
	}
	g.store.set(nil)
	for _, l := range all {
		l.flush()
	}
	want := g.dump(all[5].file)
	_, path, _ := g.restored(all[5].id, "")
	g.equal("after the outage", want, g.dumpAt(path))
}

// dirty counts the changes that the file notes.
func (l *live) dirty() (n int) {
	l.Helper()
	names, err := l.file.DB().QueryContext(l.ctx(), "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'cloudsession_dirty%'")
	l.must(err)
	defer func() { l.must(names.Close()) }()
	var tables []string
	for names.Next() {
		var name string
		l.must(names.Scan(&name))
		tables = append(tables, name)
	}
	l.must(names.Err())
	if len(tables) == 0 {
		l.Fatal("the file notes no changes at all")
	}
	for _, name := range tables {
		var some int
		l.must(l.file.DB().QueryRowContext(l.ctx(), `SELECT COUNT(*) FROM "`+name+`"`).Scan(&some))
		n += some
	}
	return n
}
