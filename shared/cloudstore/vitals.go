package cloudstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Vitals is what an operator watches, by TiDB's clock.
type Vitals struct {
	LiveConnectors int
	// StaleConnectors have no lease, and neither ended in order nor were forgotten.
	StaleConnectors int
	// SyncLag is the largest any live connector reported with its last renewal.
	SyncLag time.Duration
	// SessionsOpen are wanted open and held by a live connector.
	SessionsOpen int
	// SessionsWithoutOwner are wanted open, or for what the application has not taken of
	// them, and held by none. One that is banned for a while, or has no backup and so
	// only its own connector, is not counted.
	SessionsWithoutOwner int
	// CommandsOverdue are past their deadline and nobody has said so.
	CommandsOverdue int
}

const (
	// A death that no process of this version wrote is taken for one in order:
	// see migration 6.
	selectVitals = `SELECT
		(SELECT COUNT(*) FROM connectors WHERE NOT dead AND lease_until > NOW(6)),
		(SELECT COUNT(*) FROM connectors WHERE (dead OR lease_until <= NOW(6)) AND NOT COALESCE(retired, dead)),
		(SELECT COALESCE(MAX(sync_lag_us), 0) FROM connectors WHERE NOT dead AND lease_until > NOW(6)),
		(SELECT COUNT(*) FROM session_owners o JOIN connectors c ON c.connector_id = o.connector_id
			WHERE o.wanted = 'open' AND NOT c.dead AND c.lease_until > NOW(6)),
		(SELECT COUNT(*) FROM session_owners o LEFT JOIN connectors c ON c.connector_id = o.connector_id
			WHERE o.wanted IN ('open', 'rest') AND o.backup <> 'off' AND (o.not_before IS NULL OR o.not_before <= NOW(6))
			AND NOT COALESCE(NOT c.dead AND c.lease_until > NOW(6), FALSE)),
		(SELECT COUNT(*) FROM commands WHERE state IN ('queued', 'running') AND deadline <= NOW(6))`
	lockLive        = `SELECT NOT dead AND lease_until > NOW(6) FROM connectors WHERE connector_id = ? FOR UPDATE`
	forgetConnector = `UPDATE connectors SET retired = TRUE WHERE connector_id = ?`
)

// Vitals reads what an operator watches. It needs SELECT only.
func (s *Store) Vitals(ctx context.Context) (v Vitals, err error) {
	err = s.retry(ctx, func() (err error) {
		v, err = one(ctx, s.db, scanVitals, selectVitals)
		return err
	})
	if isUnknownColumn(err) {
		return Vitals{}, fmt.Errorf("read vitals: the tables are older than this program: run connector migrate: %w", err)
	}
	if err != nil {
		return Vitals{}, fmt.Errorf("read vitals: %w", err)
	}
	return v, nil
}

// ForgetConnector takes a connector that is gone for good off the list of stale
// ones. ErrStillLive when it has a lease, ErrNotFound when nobody knows it. It
// frees no session: that is for the other connectors to decide (O2). If the
// process lives after all, its next renewal puts it back. The queue's address
// stays: only a live connector's is used, and a process that starts clears it.
func (s *Store) ForgetConnector(ctx context.Context, id string) error {
	err := s.withTransaction(ctx, func(tx *sql.Tx) error {
		live, err := one(ctx, tx, scanBool, lockLive, id)
		if err != nil {
			return err
		}
		if live {
			return ErrStillLive
		}
		_, err = execOn(ctx, tx, forgetConnector, id)
		return err
	})
	if err != nil {
		return fmt.Errorf("forget connector: %w", err)
	}
	return nil
}

// ErrStillLive means that a connector has a lease.
var ErrStillLive = errors.New("connector is live")

func scanVitals(row scanner) (v Vitals, err error) {
	var lag int64 // microseconds
	err = row.Scan(&v.LiveConnectors, &v.StaleConnectors, &lag, &v.SessionsOpen, &v.SessionsWithoutOwner, &v.CommandsOverdue)
	v.SyncLag = time.Duration(lag) * time.Microsecond
	return v, err
}
