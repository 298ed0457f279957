package replicate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cloudsession/shared/cloudstore"
)

func TestSlowLaneStallsOnlyItsSessions(t *testing.T) {
	g := newRig(t, newMemory(), func(o *Options) { o.StatementTimeout = time.Minute })
	stuck := make(chan struct{})
	hang := false
	var mu sync.Mutex
	slow := g.pair(idInLane(0, 4, 0), 1)
	var others []*live
	for lane := 1; lane < 4; lane++ {
		others = append(others, g.pair(idInLane(lane, 4, lane), uint64(lane)))
	}
	slow.flush()
	g.store.set(func(ctx context.Context, _ string, ids []string) fault {
		if slices.Contains(ids, slow.id) {
			mu.Lock()
			first := !hang
			hang = true
			mu.Unlock()
			if first {
				close(stuck)
			}
			<-ctx.Done() // a connection that is half open
			return lost
		}
		return fine
	})
	slow.steps(5)
	<-stuck
	for round := range 3 {
		for _, l := range others {
			l.steps(5)
			l.flush()
			_ = round
		}
	}
	if !slow.repl.Status().Pending {
		t.Error("the slow session has nothing pending")
	}
	for _, l := range others {
		l.settle()
	}
}

// settle waits until nothing is pending. A commit signals once more when its
// connection is given back, which may be after a flush: the session then looks
// again, and finds nothing.
func (l *live) settle() {
	l.await("nothing to be pending", func() bool { return !l.repl.Status().Pending })
}

// TestSessionsShareStatements: while a statement runs, the changes of all other sessions gather.
func TestSessionsShareStatements(t *testing.T) {
	g := newRig(t, newMemory(), func(o *Options) { o.Lanes, o.StatementTimeout = 1, time.Hour })
	var all []*live
	for i := range 20 {
		all = append(all, g.pair(fmt.Sprintf("s%d", i), uint64(i)))
	}
	for _, l := range all {
		l.flush()
	}
	entered, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var mu sync.Mutex
	var groups []int
	g.store.set(func(_ context.Context, op string, ids []string) fault {
		if op == "append" {
			mu.Lock()
			groups = append(groups, len(ids))
			mu.Unlock()
			once.Do(func() { close(entered); <-release })
		}
		return fine
	})
	all[0].bulk(100, 0)
	<-entered
	var wg sync.WaitGroup
	for _, l := range all[1:] {
		l.bulk(100, 0)
		wg.Go(func() { g.must(l.repl.WaitDurable(g.limit())) })
	}
	g.await("the sessions' rows to gather", func() bool {
		g.repl.lanes[0].mu.Lock()
		defer g.repl.lanes[0].mu.Unlock()
		return len(g.repl.lanes[0].rows) == len(all)-1
	})
	close(release)
	wg.Wait()
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(groups, []int{1, len(all) - 1}) {
		t.Errorf("statements of %v rows", groups)
	}
}

// TestOutage: nobody is held up, what is pending stays small, and all of it gets through.
func TestOutage(t *testing.T) {
	g := newRig(t, newMemory())
	l := g.pair("personal", 1)
	l.flush()
	g.store.set(func(context.Context, string, []string) fault { return lost })
	for range 20 {
		l.steps(10)
		l.bulk(1000, 0) // the same key over and over
	}
	ctx := g.untilTried("append", 2, always(lost))
	err := l.repl.WaitDurable(ctx)
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "append") {
		t.Errorf("wait during an outage: %v", err)
	}
	if st := l.repl.Status(); !st.Pending || st.Since.IsZero() || st.LastError == nil {
		t.Errorf("status during an outage: %+v", st)
	}
	before := l.repl.Status().Pushes
	g.store.set(nil)
	l.flush()
	l.settle()
	if st := l.repl.Status(); st.LastError != nil || st.Pushes-before > 4 {
		t.Errorf("status afterwards: %+v, %d pushes before", st, before)
	}
	want := g.dump(l.file)
	_, path, _ := g.restored(l.id, "")
	g.equal("after an outage", want, g.dumpAt(path))
}

// broken refuses the rows of one session for good.
type broken struct {
	*memory
	id string
}

func (b *broken) AppendSegments(ctx context.Context, segs []cloudstore.Segment) ([]cloudstore.Outcome, error) {
	for _, s := range segs {
		if s.SessionID == b.id {
			return nil, fmt.Errorf("row of %s: %w", s.SessionID, cloudstore.ErrBadInput)
		}
	}
	return b.memory.AppendSegments(ctx, segs)
}

func TestOneSessionsRowsSpoilNobodyElses(t *testing.T) {
	c := &broken{memory: newMemory(), id: "bad"}
	g := newRig(t, c, func(o *Options) { o.Lanes = 1 })
	bad, good := g.pair("bad", 1), g.pair("good", 2)
	bad.flush() // its base goes another way
	good.flush()
	for range 10 {
		bad.steps(5)
		good.steps(5)
		g.must(good.repl.WaitDurable(g.limit()))
	}
	ctx := g.untilTried("append", 2, always(fine)) // it is tried again for as long as anybody waits
	if err := bad.repl.WaitDurable(ctx); !errors.Is(err, cloudstore.ErrBadInput) {
		t.Errorf("wait for rows that are refused: %v", err)
	}
}

func TestLanesPutWholePushesInOrder(t *testing.T) {
	m := newMemory()
	o := Options{GroupBytes: 10, GroupRows: 3}.withDefaults()
	l := newLane(m, &o, func(string, uint64) {})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { l.run(ctx) })
	defer wg.Wait()
	defer cancel()
	var units []*unit
	for s := range 7 {
		u := &unit{sessionID: fmt.Sprint(s), epoch: 1, done: make(chan struct{})}
		for seq := range uint64(s + 1) {
			u.segs = append(u.segs, cloudstore.Segment{
				SessionID: u.sessionID, Epoch: 1, Seq: seq + 1, Kind: cloudstore.KindDelta, Data: make([]byte, 4+s), Tag: [32]byte{byte(seq)},
			})
		}
		units = append(units, u)
		l.submit(u)
	}
	for s, u := range units {
		<-u.done
		rows, err := m.SegmentHeads(ctx, u.sessionID, 1)
		if err != nil {
			t.Fatal(err)
		}
		if u.err != nil || len(rows) != s+1 {
			t.Errorf("unit of %d rows: %v, %d written", s+1, u.err, len(rows))
		}
	}
}
