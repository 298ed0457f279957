package cloudstore

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
)

const (
	// NOW(6) in a column: reservations end by TiDB's clock.
	lockReserved = `SELECT COALESCE(reserved_until > NOW(6), FALSE) FROM session_owners WHERE session_id = ? FOR UPDATE`

	lockConnectors = `SELECT connector_id, incarnation, dead FROM connectors WHERE connector_id IN (?, ?) FOR UPDATE`
	selectDead     = `SELECT dead FROM connectors WHERE connector_id = ? AND incarnation = ?`

	// Candidates only: Take decides. A session without backup is worth only to
	// the connector that has its file.
	selectTakeable = `SELECT session_id, connector_id, epoch, wanted, reserved_for, reserved_until, state, state_detail, state_at, backup, failover, synced_at, not_before
		FROM session_owners WHERE wanted IN ('open', 'rest') AND backup <> 'off' AND (not_before IS NULL OR not_before <= NOW(6)) AND (
			connector_id IS NULL AND (reserved_for IS NULL OR reserved_for = ? OR reserved_until <= NOW(6))
			OR failover = 'auto' AND connector_id <> ? AND connector_id NOT IN (SELECT connector_id FROM connectors WHERE NOT dead)
		) ORDER BY COALESCE(reserved_for = ?, FALSE) DESC, session_id LIMIT ?`
)

// Takeable lists sessions that nobody holds and that a sweep of this connector
// may try to take (O3): those reserved for it first, then the rest, by id. Its
// own are OwnersOf's. At most limit, and only a hint: Take decides.
func (s *Store) Takeable(ctx context.Context, connectorID string, limit int) (owners []Owner, err error) {
	err = s.retry(ctx, func() (err error) {
		owners, err = collect(ctx, s.db, scanOwner, selectTakeable, connectorID, connectorID, connectorID, limit)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look for sessions to take: %w", err)
	}
	return owners, nil
}

// mayTake is the part of O3 that the owner row decides. Whether an owner is
// dead is checkAlive's.
func mayTake(ctx context.Context, tx *sql.Tx, r TakeRequest, v takeView) error {
	o := v.owner
	if err := mayTakeYet(ctx, tx, o); err != nil {
		return err
	}
	if o.Wanted != WantedOpen && o.Wanted != WantedRest && !r.AnyWanted && !r.MayCreate {
		return fmt.Errorf("%w: wanted %s", ErrNotTakeable, o.Wanted)
	}
	if o.ConnectorID == r.ConnectorID {
		// This process holds it, or an earlier one of the same connector did,
		// which is gone: it was replaced by compare-and-swap.
		return nil
	}
	if o.Backup == BackupOff && o.ConnectorID == "" && !r.WithoutParent {
		return fmt.Errorf("%w: its copy was deleted, and nobody holds it", ErrNotFound)
	}
	if o.Backup == BackupOff && !r.WithoutParent {
		return fmt.Errorf("%w: it has no backup, and another connector has its file", ErrNotTakeable)
	}
	if o.ConnectorID != "" {
		if o.Failover == FailoverManual && !r.ByCommand {
			return fmt.Errorf("%w: failover is manual", ErrNotTakeable)
		}
		return nil
	}
	// A reservation is a courtesy among sweeps: a person who asks goes first.
	if o.ReservedFor == "" || o.ReservedFor == r.ConnectorID || r.ByCommand {
		return nil
	}
	reserved, err := one(ctx, tx, scanBool, lockReserved, r.SessionID)
	if err == nil && reserved {
		err = fmt.Errorf("%w: reserved for another connector", ErrNotTakeable)
	}
	return err
}

// checkAlive locks the taker's row of connectors, and the owner's if need be: the
// taker must be the live process it says, and another owner must be dead. A
// connector without a row is dead: rows of live ones are never removed.
func checkAlive(ctx context.Context, tx *sql.Tx, r TakeRequest, v takeView) error {
	ownerID := v.owner.ConnectorID
	if dead, err := holderDead(ctx, tx, r, v); err != nil {
		return err
	} else if dead {
		ownerID = ""
	}
	type state struct {
		id, incarnation string
		dead            bool
	}
	// Without an owner to ask the taker's name stands twice: a key that has no row
	// would be locked too, and all takes of all connectors would queue for it.
	rows, err := collect(ctx, tx, func(row scanner) (c state, err error) {
		err = row.Scan(&c.id, &c.incarnation, &c.dead)
		return c, err
	}, lockConnectors, r.ConnectorID, cmp.Or(ownerID, r.ConnectorID))
	if err != nil {
		return fmt.Errorf("read connectors: %w", err)
	}
	alive := false
	for _, c := range rows {
		switch c.id {
		case r.ConnectorID:
			alive = !c.dead && c.incarnation == r.Incarnation
		case ownerID:
			if !c.dead {
				return fmt.Errorf("%w: owned by a connector that is not dead", ErrNotTakeable)
			}
		}
	}
	if !alive {
		return errors.Join(ErrIncarnation, ErrFenced)
	}
	return nil
}

// holderDead reports whether the process that took the current epoch is known to
// be dead. That is for good: an incarnation that was declared dead never comes
// back, so this one read needs no lock, however old what it sees. All takers of
// a dead connector's sessions would queue for its row otherwise. False says
// nothing.
func holderDead(ctx context.Context, tx *sql.Tx, r TakeRequest, v takeView) (bool, error) {
	if v.owner.ConnectorID == "" || v.owner.ConnectorID == r.ConnectorID || v.epoch.ConnectorID != v.owner.ConnectorID {
		return false, nil
	}
	dead, err := one(ctx, tx, scanBool, selectDead, v.owner.ConnectorID, v.epoch.Incarnation)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at the owner's process: %w", err)
	}
	return dead, nil
}

func scanBool(row scanner) (b bool, err error) {
	err = row.Scan(&b)
	return b, err
}
