package ownership

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cloudsession/shared/cloudstore"
)

// AwaitNamesake is for a process that Register refused: it watches whether the one
// that has the connector's name still renews its lease. Where that one is gone and no
// other connector lives to say so, nobody else could ever declare it dead (O2): a
// single connector on a new disk, or all of them after a restore of the database.
//
// It returns nil when the name is free for the next Register, by this process or
// another's doing. cloudstore.ErrIncarnation means that the namesake lives. Other
// errors are the database's; nothing was decided then.
//
// The namesake must have let a whole lease pass without renewing, in which TiDB
// answered all the time: after an outage everybody's lease is over, and the first one
// back must not take a live one's place.
func AwaitNamesake(ctx context.Context, opt Options) error {
	if opt.now == nil {
		opt.now = BootClock
	}
	w := namesakeWatch{opt: opt, id: opt.Connector.ID}
	tick := time.NewTicker(WatchEvery)
	defer tick.Stop()
	for {
		free, err := w.look(ctx)
		if err != nil || free {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("watch connector %s: %w", w.id, ctx.Err())
		case <-tick.C:
		}
	}
}

type namesakeWatch struct {
	opt   Options
	id    string
	seen  cloudstore.Connector // zero before the first look
	since time.Duration        // seen at least since then, on the boot-time clock
	last  time.Duration        // when TiDB last answered
}

// look reads the row once, and buries its process if the time has come.
func (w *namesakeWatch) look(ctx context.Context) (free bool, err error) {
	row, err := w.opt.Store.Connector(ctx, w.id)
	switch {
	case errors.Is(err, cloudstore.ErrNotFound):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("watch connector %s: %w", w.id, err)
	case row.Dead:
		return true, nil
	}
	now := w.opt.now()
	switch {
	case w.seen.Incarnation == "" || now-w.last > RenewEvery:
		// The first answer, or the first one after a silence in which nobody could renew.
		w.seen, w.since = row, now
	case row.Incarnation != w.seen.Incarnation || !row.LeaseUntil.Equal(w.seen.LeaseUntil):
		return false, fmt.Errorf("connector %s: %w", w.id, cloudstore.ErrIncarnation)
	}
	w.last = now
	if now-w.since < LeaseDuration {
		return false, nil
	}
	buried, err := w.opt.Store.BuryNamesake(ctx, w.id, row.Incarnation, buryMargin)
	if buried {
		w.opt.Log.Warn("the process that had this connector's name is dead: its lease is over and was not renewed",
			"connector", w.id, "lease_until", row.LeaseUntil)
	}
	return buried, err
}
