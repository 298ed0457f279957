package replicate

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-sql-driver/mysql"

	"cloudsession/infra/local/tidbtest"
	"cloudsession/shared/cloudstore"
)

// slowStore is a store behind a way that carries so many bytes a second, and
// with sessions whose rows somebody holds a lock on.
type slowStore struct {
	*memory
	perSecond int // 0: any number
	latency   time.Duration
	conflict  bool

	mu     sync.Mutex
	locked []string
}

func (s *slowStore) lock(ids ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.locked = ids
}

func (s *slowStore) isLocked(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.locked, id)
}

func (s *slowStore) AppendSegments(ctx context.Context, segs []cloudstore.Segment) ([]cloudstore.Outcome, error) {
	for _, seg := range segs {
		switch {
		case !s.isLocked(seg.SessionID):
		case s.conflict:
			return nil, fmt.Errorf("append segments: %w", &mysql.MySQLError{Number: 1205, Message: "Lock wait timeout exceeded"})
		default:
			<-ctx.Done()
			return nil, fmt.Errorf("append segments: %w", ctx.Err())
		}
	}
	time.Sleep(s.latency)
	if s.perSecond > 0 {
		sent := time.NewTimer(time.Duration(weightOf(segs)) * time.Second / time.Duration(s.perSecond))
		defer sent.Stop()
		select {
		case <-sent.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("append segments: %w", ctx.Err())
		}
	}
	return s.memory.AppendSegments(ctx, segs)
}

// runLane runs a lane of s with the default options in the test's bubble.
func runLane(t *testing.T, s Writer) *lane {
	o := Options{Log: slog.New(slog.DiscardHandler)}.withDefaults()
	l := newLane(s, &o, func(string, uint64) {})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { l.run(ctx) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return l
}

// send submits a push of so many rows of a session.
func (l *lane) send(id string, seq uint64, rows, bytes int) *unit {
	u := &unit{sessionID: id, epoch: 1, done: make(chan struct{})}
	for i := range uint64(rows) {
		u.segs = append(u.segs, cloudstore.Segment{
			SessionID: id, Epoch: 1, Seq: seq + i, Kind: cloudstore.KindDelta, Data: make([]byte, bytes), Tag: [32]byte{byte(seq + i)},
		})
	}
	l.submit(u)
	return u
}

// within fails the test unless u is durable after d at most.
func (u *unit) within(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-u.done:
		if u.err != nil {
			t.Errorf("%s: %v", u.sessionID, u.err)
		}
	case <-time.After(d):
		t.Errorf("%s: not durable after %s", u.sessionID, d)
	}
}

// A session whose rows are locked holds up the others of its lane once, for as
// long as it takes to find out which one it is. Then only itself.
func TestLockedSessionStallsNobodyElse(t *testing.T) {
	for _, conflict := range []bool{false, true} {
		t.Run(fmt.Sprintf("conflict=%v", conflict), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &slowStore{memory: newMemory(), conflict: conflict}
				s.lock("bad", "worse")
				l := runLane(t, s)
				bad, worse := l.send("bad", 1, 1, 100), l.send("worse", 1, 3, 100)
				var others []*unit
				for i := range 20 {
					others = append(others, l.send(fmt.Sprint("good", i), 1, 2, 100))
				}
				for _, u := range others { // one statement for all, and one of each culprit
					u.within(t, 16*time.Second)
				}
				for seq := range uint64(30) {
					l.send("good0", 3+seq, 1, 100).within(t, time.Second)
					time.Sleep(time.Second)
				}
				s.lock()
				bad.within(t, 20*time.Second)
				worse.within(t, 20*time.Second)
			})
		})
	}
}

// When a database that gave no answers is back, its lanes' sessions share
// statements again, but for the few that were tried by themselves.
func TestSilentDatabaseIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slowStore{memory: newMemory(), latency: 200 * time.Millisecond}
		var ids []string
		for i := range 250 {
			ids = append(ids, fmt.Sprint("s", i))
		}
		s.lock(ids...)
		l := runLane(t, s)
		var units []*unit
		for _, id := range ids {
			units = append(units, l.send(id, 1, 1, 100))
		}
		time.Sleep(time.Minute)
		s.lock()
		back := time.Now()
		for _, u := range units {
			u.within(t, time.Minute)
		}
		if took := time.Since(back); took > 20*time.Second {
			t.Errorf("took %s, as if each session had been sent by itself", took)
		}
	})
}

// cutOnce is a store whose first statement never arrives: nothing of it is found when the tags are read back.
type cutOnce struct {
	*slowStore
	statements int
}

func (c *cutOnce) AppendSegments(ctx context.Context, segs []cloudstore.Segment) ([]cloudstore.Outcome, error) {
	c.mu.Lock()
	c.statements++
	first := c.statements == 1
	c.mu.Unlock()
	if first {
		return make([]cloudstore.Outcome, len(segs)), nil // all Absent
	}
	return c.slowStore.AppendSegments(ctx, segs)
}

// A connection that breaks under a group says nothing of any session in it: they share statements again.
func TestAbsentGroupStaysTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &cutOnce{slowStore: &slowStore{memory: newMemory(), latency: 10 * time.Millisecond}}
		l := runLane(t, s)
		l.mu.Lock()
		l.pausedUntil = time.Now().Add(time.Second) // until all are there
		l.mu.Unlock()
		var units []*unit
		for i := range 250 {
			units = append(units, l.send(fmt.Sprint("s", i), 1, 1, 100))
		}
		for _, u := range units {
			u.within(t, time.Minute)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.statements > 10 {
			t.Errorf("%d statements for one group", s.statements)
		}
	})
}

// watched counts statements with rows of other sessions: those that hold rows of
// one session too, and those that are written while one of that session is.
type watched struct {
	cloud
	id string

	mu                        sync.Mutex
	writing, together, beside int
}

func (w *watched) AppendSegments(ctx context.Context, segs []cloudstore.Segment) ([]cloudstore.Outcome, error) {
	isMine := func(s cloudstore.Segment) bool { return s.SessionID == w.id }
	mine := slices.ContainsFunc(segs, isMine)
	others := slices.ContainsFunc(segs, func(s cloudstore.Segment) bool { return !isMine(s) })
	w.mu.Lock()
	switch {
	case mine && others:
		w.together++
	case others && w.writing > 0:
		w.beside++
	}
	if mine {
		w.writing++
	}
	w.mu.Unlock()
	defer func() {
		if mine {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.writing--
		}
	}()
	return w.cloud.AppendSegments(ctx, segs)
}

func (w *watched) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.together, w.beside = 0, 0
}

func (w *watched) counts() (together, beside int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.together, w.beside
}

// A locked session on the real engine: somebody's transaction holds the place of a
// session's next row.
func TestLockedRowOnTheEngine(t *testing.T) {
	config := tidbtest.Start(t)
	store := &watched{cloud: openTiDB(t, config), id: "bad"}
	g := newRig(t, store, func(o *Options) { o.Lanes, o.StatementTimeout = 1, 2*time.Second })
	bad, good := g.pair("bad", 1), g.pair("good", 2)
	bad.flush()
	good.flush()
	bad.settle()
	db := rawDB(t, config)
	tx, err := db.BeginTx(t.Context(), nil)
	g.must(err)
	defer func() { _ = tx.Rollback() }()
	at := bad.repl.Status().Cursor
	next := tx.QueryRowContext(t.Context(), "SELECT tag FROM session_segments WHERE (session_id, epoch, seq) IN ((?, ?, ?)) FOR UPDATE",
		bad.id, at.Epoch, at.Seq+1)
	if err := next.Scan(new([]byte)); !errors.Is(err, sql.ErrNoRows) {
		t.Fatalf("a row behind the last one: %v", err)
	}
	bad.bulk(100, 0)
	for range 3 {
		good.bulk(100, 0)
		g.must(good.repl.WaitDurable(g.limit()))
	}
	store.reset()
	for i := range 20 { // once it is clear whose fault it is, nobody else waits
		good.bulk(100, i%2)
		g.must(good.repl.WaitDurable(g.limit()))
	}
	if together, beside := store.counts(); together > 0 || beside == 0 {
		t.Errorf("another session's rows shared %d statements with the locked one's and went beside %d", together, beside)
	}
	if !bad.repl.Status().Pending {
		t.Error("nothing of the locked session is pending")
	}
	g.must(tx.Rollback())
	bad.flush()
}

// Where a full group can't be sent in time, smaller ones can, while small pushes
// go on beside it.
func TestSlowWayMakesGroupsSmaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slowStore{memory: newMemory(), perSecond: 300 << 10} // 1 MiB takes 3.4 s, of 5
		l := runLane(t, s)
		big := l.send("big", 1, 8, 1<<20)
		for i := range uint64(40) {
			l.send("small", 1+i, 1, 1000).within(t, 12*time.Second)
			time.Sleep(time.Second)
		}
		big.within(t, 3*time.Minute)

		s.perSecond = 0
		l.send("big", 9, 8, 1<<20).within(t, time.Minute)
		l.send("big", 17, 8, 1<<20).within(t, time.Minute)
		if l.halved != 0 {
			t.Errorf("groups still %d times halved on a fast way", l.halved)
		}
	})
}
