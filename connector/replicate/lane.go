package replicate

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"cloudsession/shared/cloudstore"
)

// lane writes the units of its share of the sessions, one statement at a time (P5), and one more of
// those that went aside. While a statement runs, units gather; the next statement takes as many of their
// rows as fit (P4).
type lane struct {
	store Writer
	opt   *Options
	log   *slog.Logger
	saved func(sessionID string, epoch uint64) // told about every unit that became durable

	slots slots // of pushes that take much memory

	mu     sync.Mutex
	rows   []*unit // units with rows that can share a statement
	single []*unit // units whose next step is a transaction of its own
	aside  []*unit // units that may hold up all others
	halved int     // how often the bounds of a group are halved

	pause       time.Duration // after the database was unreachable
	pausedUntil time.Time
	trouble     bool // no statement got through since one failed for the database's sake
	silent      bool // nor since a unit that was sent by itself got no answer

	wake, wakeAside chan struct{}
}

// entry is a unit's share of one statement: its next n rows.
type entry struct {
	unit *unit
	n    int
}

func newLane(store Writer, o *Options, saved func(string, uint64)) *lane {
	return &lane{
		store: store, opt: o, log: o.Log, saved: saved,
		slots: slots{free: slotsPerLane}, wake: make(chan struct{}, 1), wakeAside: make(chan struct{}, 1),
	}
}

// submit queues u at the end. The lane owns u until u.done is closed.
func (l *lane) submit(u *unit) {
	wake := l.wake
	l.mu.Lock()
	switch {
	case u.suspect:
		l.aside = append(l.aside, u)
		wake = l.wakeAside
	case u.alone():
		l.single = append(l.single, u)
	default:
		l.rows = append(l.rows, u)
	}
	l.mu.Unlock()
	select {
	case wake <- struct{}{}:
	default:
	}
}

// run writes until ctx ends. A statement cut off by that leaves its outcome unknown, as a crash would.
func (l *lane) run(ctx context.Context) {
	var aside sync.WaitGroup
	aside.Go(func() { l.runAside(ctx) })
	defer aside.Wait()
	for ctx.Err() == nil {
		now := time.Now()
		group, single, next := l.take(now)
		if len(group) == 0 && single == nil {
			sleep(ctx, l.wake, now, next)
			continue
		}
		if len(group) > 0 {
			l.writeGroup(ctx, group)
		}
		if single != nil {
			l.writeSingle(ctx, single)
		}
	}
}

// sleep waits for wake, which tells of a new unit, or until next unless that is zero.
func sleep(ctx context.Context, wake <-chan struct{}, now, next time.Time) {
	var due <-chan time.Time
	if !next.IsZero() {
		t := time.NewTimer(next.Sub(now))
		defer t.Stop()
		due = t.C
	}
	select {
	case <-ctx.Done():
	case <-wake:
	case <-due:
	}
}

// take removes from the queues what the next round writes: a group of rows, and one unit that has to go
// alone, so that neither kind starves the other. With nothing ready it returns when something will be.
func (l *lane) take(now time.Time) (group []entry, single *unit, next time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Before(l.pausedUntil) {
		return nil, nil, l.pausedUntil
	}
	l.rows, group, next = l.takeRows(now)
	for i, u := range l.single {
		if u.notBefore.After(now) {
			next = earlier(next, u.notBefore)
			continue
		}
		single = u
		l.single = append(l.single[:i:i], l.single[i+1:]...)
		break
	}
	return group, single, next
}

func (l *lane) takeRows(now time.Time) (rest []*unit, group []entry, next time.Time) {
	room := l.room()
	for i, u := range l.rows {
		switch {
		case u.withdrawn.Load():
			u.finish(ErrClosed)
			continue
		case u.notBefore.After(now):
			next = earlier(next, u.notBefore)
			rest = append(rest, u)
			continue
		}
		n := room.take(u.groupable())
		if n == 0 {
			return append(rest, l.rows[i:]...), group, next // full
		}
		group = append(group, entry{u, n})
	}
	return rest, group, next
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// writeGroup sends the rows of a group in one statement and settles every unit by its outcomes.
func (l *lane) writeGroup(ctx context.Context, group []entry) {
	var segs []cloudstore.Segment
	for _, e := range group {
		segs = append(segs, e.unit.segs[:e.n]...)
	}
	outcomes, err := l.append(ctx, segs)
	switch {
	case err == nil:
		l.grow(segs)
		for _, e := range group {
			l.settle(e.unit, outcomes[:e.n])
			outcomes = outcomes[e.n:]
		}
	case isStuck(err):
		l.stuck(err, group, len(segs))
	case isOutage(err):
		l.outage(err, group)
	case len(group) > 1:
		l.setAside(group, err)
	default:
		l.failed(group[0].unit, err)
	}
}

func (l *lane) append(ctx context.Context, segs []cloudstore.Segment) ([]cloudstore.Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, l.opt.StatementTimeout)
	defer cancel()
	l.opt.Observer.Wrote(Statement{Rows: len(segs), Bytes: weightOf(segs)})
	outcomes, err := l.store.AppendSegments(ctx, segs)
	if err == nil && len(outcomes) != len(segs) {
		return nil, errors.New("append segments: outcomes don't match the rows sent")
	}
	if err == nil {
		l.clearOutage()
	}
	return outcomes, err
}

func weightOf(segs []cloudstore.Segment) (bytes int) {
	for _, seg := range segs {
		bytes += len(seg.Data)
	}
	return bytes
}

func (l *lane) settle(u *unit, outcomes []cloudstore.Outcome) {
	before := len(u.segs)
	switch {
	case u.settle(outcomes):
		if u.err == nil {
			l.saved(u.sessionID, u.epoch)
		}
	case before-len(u.segs) < len(outcomes): // a row was absent
		// Once may be a connection that broke, and with it the whole group's rows.
		u.suspect = u.suspect || u.pause > 0
		l.retryLater(u, errors.New("row is absent after it was sent"))
	default:
		l.submit(u) // the next parts, after what others have queued meanwhile
	}
}

// writeSingle writes a unit's credentials, together with its last row if it has one.
func (l *lane) writeSingle(ctx context.Context, u *unit) {
	if u.withdrawn.Load() {
		u.finish(ErrClosed)
		return
	}
	stmt, cancel := context.WithTimeout(ctx, l.opt.StatementTimeout)
	defer cancel()
	outcome, err := cloudstore.Durable, error(nil)
	l.opt.Observer.Wrote(Statement{Rows: len(u.segs), Bytes: weightOf(u.segs) + len(u.creds.Data)})
	if len(u.segs) == 1 {
		outcome, err = l.store.AppendFirstBase(stmt, u.segs[0], *u.creds)
	} else {
		err = l.store.PutCredentials(stmt, *u.creds)
	}
	switch {
	case err == nil && outcome == cloudstore.Durable:
		l.clearOutage()
		l.saved(u.sessionID, u.epoch)
		u.finish(nil)
	case err == nil && outcome == cloudstore.Fenced:
		u.finish(ErrFenced)
	case err == nil:
		l.retryLater(u, errors.New("row is absent after it was sent"))
	case isStuck(err):
		l.stuck(err, []entry{{u, 0}}, len(u.segs))
	case isOutage(err):
		l.outage(err, []entry{{u, 0}})
	default:
		l.failed(u, err)
	}
}

// failed handles an error that is this unit's own.
func (l *lane) failed(u *unit, err error) {
	if errors.Is(err, ErrFenced) {
		u.finish(ErrFenced)
		return
	}
	l.log.Error("write to cloud failed", "session", u.sessionID, "epoch", u.epoch, "error", err)
	u.suspect = true
	l.retryLater(u, err)
}

// retryLater has u sent again after a pause that grows, for something that may be its own fault.
func (l *lane) retryLater(u *unit, err error) {
	var wait time.Duration
	u.pause, wait = backoff(u.pause, l.opt.RetryMin, l.opt.RetryMax)
	u.refused.Store(u.pause >= l.opt.RetryMax)
	l.again(u, wait, err)
}

// again queues u once more; its bytes stay as they are.
func (l *lane) again(u *unit, wait time.Duration, why error) {
	if u.withdrawn.Load() {
		u.finish(ErrClosed)
		return
	}
	if u.onRetry != nil {
		u.onRetry(why)
	}
	if !errors.Is(why, context.Canceled) { // at the end nothing is sent any more
		l.opt.Observer.Resent()
	}
	u.notBefore = time.Now().Add(wait)
	l.submit(u)
}

// isOutage reports whether err says something about the database or the way there, not about the rows.
func isOutage(err error) bool {
	return cloudstore.IsUnavailable(err) || errors.Is(err, context.Canceled)
}

// outage makes the whole lane pause: every statement would fail.
func (l *lane) outage(err error, group []entry) {
	var wait time.Duration
	l.mu.Lock()
	first := !l.trouble && !errors.Is(err, context.Canceled)
	l.trouble = l.trouble || first
	l.pause, wait = backoff(l.pause, l.opt.RetryMin, l.opt.RetryMax)
	l.pausedUntil = time.Now().Add(wait)
	l.mu.Unlock()
	if first {
		l.log.Warn("cloud is unreachable; changes wait on disk", "error", err)
	}
	for _, e := range group {
		l.again(e.unit, 0, err)
	}
}

func (l *lane) clearOutage() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.trouble {
		l.log.Info("cloud is reachable again")
	}
	if l.silent {
		l.rejoin()
	}
	l.pause, l.trouble, l.silent = 0, false, false
}
