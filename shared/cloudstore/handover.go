package cloudstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

const (
	unreserveOwner = `UPDATE session_owners SET reserved_for = ?, reserved_until = NOW(6) + INTERVAL ? MICROSECOND
		WHERE session_id = ? AND connector_id IS NULL AND reserved_for = ?`
	selectWantedIDs = `SELECT session_id FROM session_owners
		WHERE session_id > ? AND wanted = 'open' AND backup <> 'off' AND failover = 'auto' ORDER BY session_id LIMIT ?`
)

// Handover is a session whose owner gives it to another connector.
type Handover struct {
	SessionID string
	Epoch     uint64        // the owner's
	Target    string        // connector that shall have it
	Reserve   time.Duration // how long only Target's sweeps may take it
	CommandID string        // the command that asked for it, claimed by Incarnation
	// Incarnation is that of the connector that gives the session up.
	Incarnation string
}

// HandOver gives up a session held under an epoch and hands the command that
// asked for it on to the target, in one transaction (O6): there is no moment at
// which the session is free and nobody is in charge of the command. A command
// that is over meanwhile is left alone; the reservation tells the target's
// sweep. ErrFenced when the epoch is over.
func (s *Store) HandOver(ctx context.Context, h Handover) error {
	if err := ValidateSessionID(h.SessionID); err != nil {
		return err
	}
	if err := validateNames(h.Target, h.Incarnation); err != nil {
		return fmt.Errorf("hand session over: %w", err)
	}
	err := s.withTransaction(ctx, func(tx *sql.Tx) error {
		o, err := one(ctx, tx, scanOwner, lockOwner, h.SessionID)
		if errors.Is(err, ErrNotFound) || err == nil && o.Epoch != h.Epoch {
			return ErrFenced
		}
		if err != nil {
			return err
		}
		_, err = execOn(ctx, tx, updateRelease, WantedOpen, h.Target, max(0, h.Reserve.Microseconds()), h.SessionID, h.Epoch)
		if err != nil {
			return err
		}
		_, err = execOn(ctx, tx, retargetCommand, h.Target, h.CommandID, h.Incarnation)
		return err
	})
	if err != nil {
		return fmt.Errorf("hand session over: %w", err)
	}
	return nil
}

// Unreserve ends a reservation of a free session for a connector that can't
// open it, so that nobody waits for it, and makes it next's for so long; "" for
// anybody's. Without such a reservation it does nothing.
func (s *Store) Unreserve(ctx context.Context, sessionID, connectorID, next string, reserve time.Duration) error {
	if err := ValidateSessionID(sessionID); err != nil {
		return err
	}
	if _, err := s.exec(ctx, unreserveOwner, nullable(next), max(0, reserve.Microseconds()), sessionID, connectorID); err != nil {
		return fmt.Errorf("end reservation: %w", err)
	}
	return nil
}

// WantedSessions lists, by id, sessions after one id that a connector may one
// day have to take from another: wanted open, backed up, with automatic
// failover, whoever owns them now.
func (s *Store) WantedSessions(ctx context.Context, after string, limit int) (ids []string, err error) {
	err = s.retry(ctx, func() (err error) {
		ids, err = collect(ctx, s.db, scanString, selectWantedIDs, after, limit)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list wanted sessions: %w", err)
	}
	return ids, nil
}
