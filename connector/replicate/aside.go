package replicate

import (
	"context"
	"errors"
	"time"

	"cloudsession/shared/cloudstore"
)

// A statement that fails for one session's sake, because its rows are refused or somebody holds a lock
// on them, fails for everybody in it, and in the next statement again. So the units of such a statement
// go aside: each is sent by itself, beside the lane's groups, until some of it is durable. The one to
// blame then waits alone, and backs off alone.
//
// A statement that isn't answered in time may also have been too much for a slow way to the database.
// So the lane's groups get smaller as well, down to a row, and grow again as they get through. And if a
// unit that is sent by itself isn't answered either, it may be the database for all of them: once
// something gets through, those that were not tried yet go back to the groups.

// maxHalved is how often the bounds of a group are halved at most: from 512 rows to one.
const maxHalved = 9

// runAside writes what went aside, one unit at a time.
func (l *lane) runAside(ctx context.Context) {
	for ctx.Err() == nil {
		now := time.Now()
		u, n, next := l.takeAside(now)
		switch {
		case u == nil:
			sleep(ctx, l.wakeAside, now, next)
		case u.withdrawn.Load():
			u.finish(ErrClosed)
		case n == 0:
			l.writeSingle(ctx, u)
		default:
			l.writeGroup(ctx, []entry{{u, n}})
		}
	}
}

// takeAside removes from its queue the next unit that is due, with how many rows of it to send; 0 if it
// goes with its credentials. Without one it returns when there will be one.
func (l *lane) takeAside(now time.Time) (u *unit, n int, next time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Before(l.pausedUntil) {
		return nil, 0, l.pausedUntil
	}
	for i, u := range l.aside {
		if u.notBefore.After(now) {
			next = earlier(next, u.notBefore)
			continue
		}
		l.aside = append(l.aside[:i:i], l.aside[i+1:]...)
		if u.alone() {
			return u, 0, next
		}
		room := l.room()
		return u, room.take(u.groupable()), next
	}
	return nil, 0, next
}

// room is what a statement may hold, and holds already.
type room struct{ maxBytes, maxRows, bytes, rows int }

// room returns that of the lane's next statement.
func (l *lane) room() room {
	return room{maxBytes: l.opt.GroupBytes >> l.halved, maxRows: l.opt.GroupRows >> l.halved}
}

// take adds as many of segs as there is room for, one at least if there are none yet, and returns their
// number.
func (r *room) take(segs []cloudstore.Segment) (n int) {
	for _, seg := range segs {
		if r.rows > 0 && (r.bytes+len(seg.Data) > r.maxBytes || r.rows >= r.maxRows) {
			break
		}
		r.bytes, r.rows, n = r.bytes+len(seg.Data), r.rows+1, n+1
	}
	return n
}

// isStuck reports whether err can be one session's fault, or that of the statement's size, though it
// looks like the database's: no answer in time, or a lock that somebody else holds.
func isStuck(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || cloudstore.IsConflict(err)
}

// stuck handles such an error of a statement of so many rows.
func (l *lane) stuck(err error, group []entry, rows int) {
	late := !cloudstore.IsConflict(err)
	lone := len(group) == 1 && group[0].unit.suspect
	l.mu.Lock()
	if rows > 1 && late {
		l.halved = min(l.halved+1, maxHalved)
	}
	first := late && !lone && !l.trouble
	l.trouble = l.trouble || late && !lone
	l.silent = l.silent || late && lone
	l.mu.Unlock()
	if first {
		l.log.Warn("cloud is unreachable or too slow; changes wait on disk", "rows", rows, "error", err)
	}
	if len(group) > 1 {
		l.setAside(group, err)
		return
	}
	u := group[0].unit
	if u.pause == 0 {
		l.log.Warn("write to cloud is stuck", "session", u.sessionID, "epoch", u.epoch, "rows", rows, "error", err)
	}
	u.suspect = true
	l.retryLater(u, err)
}

// setAside has each unit of a group sent by itself.
func (l *lane) setAside(group []entry, why error) {
	for _, e := range group {
		e.unit.suspect = true
		l.again(e.unit, 0, why)
	}
}

// rejoin lets units that went aside for others' sake, and were not tried yet, share statements again. The
// lane's mutex is held.
func (l *lane) rejoin() {
	var rest []*unit
	for _, u := range l.aside {
		switch {
		case u.pause > 0:
			rest = append(rest, u)
			continue
		case u.alone():
			l.single = append(l.single, u)
		default:
			l.rows = append(l.rows, u)
		}
		u.suspect = false
	}
	l.aside = rest
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// grow doubles the bounds of a group after a statement that was near them got through.
func (l *lane) grow(segs []cloudstore.Segment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if room := l.room(); l.halved > 0 && (2*weightOf(segs) >= room.maxBytes || 2*len(segs) >= room.maxRows) {
		l.halved--
	}
}
