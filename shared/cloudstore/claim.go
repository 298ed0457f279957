package cloudstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
)

const (
	lockClaimer  = `SELECT dead OR incarnation <> ? FROM connectors WHERE connector_id = ? FOR UPDATE`
	claimCommand = `UPDATE commands SET state = 'running', connector_id = ?, incarnation = ?, attempt = attempt + 1, started_at = NOW(6)
		WHERE command_id = ? AND state IN ('queued', 'running') AND attempt = ?`
	retargetCommand = `UPDATE commands SET state = 'queued', connector_id = ?, incarnation = NULL
		WHERE command_id = ? AND state = 'running' AND incarnation = ?`
	finishCommand = `UPDATE commands SET state = ?, error_code = ?, error = ?, result = ?, sameness = NULL, finished_at = NOW(6)
		WHERE command_id = ? AND state = 'running' AND incarnation = ?`
)

// ClaimCommand makes a command this process's own: it must be queued, or
// running under a process that is gone or under this very one, and within its
// deadline. So a process must not ask for what it is at: a command that runs
// under it all the same is one whose claim, or whose end, it had no answer to.
// claimed is false when it isn't to be had. ErrNotFound when there is no such
// command.
func (s *Store) ClaimCommand(ctx context.Context, id, connectorID, incarnation string) (c Command, claimed bool, err error) {
	if err := validateNames(connectorID, incarnation); err != nil {
		return Command{}, false, fmt.Errorf("claim command: %w", err)
	}
	err = s.withTransaction(ctx, func(tx *sql.Tx) error {
		claimed = false
		if c, err = one(ctx, tx, scanCommand, lockCommand, id); err != nil {
			return err
		}
		free, err := claimable(ctx, tx, c, incarnation)
		if err != nil || !free {
			return err
		}
		changed, err := execOn(ctx, tx, claimCommand, connectorID, incarnation, id, c.Attempt)
		if err != nil {
			return err
		}
		claimed = changed == 1
		c, err = one(ctx, tx, scanCommand, lockCommand, id)
		return err
	})
	if _, unknown := errors.AsType[*commitError](err); unknown {
		// It is ours if it was running under nobody else: the row says.
		before := c.Attempt
		if c, err = s.Command(ctx, id); err == nil {
			claimed = claimed && c.State == CommandRunning && c.Incarnation == incarnation && c.Attempt == before
		}
	}
	if err != nil {
		return Command{}, false, fmt.Errorf("claim command: %w", err)
	}
	return c, claimed, nil
}

// claimable decides on a locked command.
func claimable(ctx context.Context, tx *sql.Tx, c Command, incarnation string) (bool, error) {
	if c.State != CommandQueued && c.State != CommandRunning {
		return false, nil
	}
	overdue, err := one(ctx, tx, scanBool, lockOverdue, c.ID)
	if err != nil || overdue || c.State == CommandQueued || c.Incarnation == incarnation {
		return err == nil && !overdue, err
	}
	gone, err := one(ctx, tx, scanBool, lockClaimer, c.Incarnation, c.ConnectorID)
	if errors.Is(err, ErrNotFound) {
		return true, nil
	}
	return gone, err
}

// RetargetCommand hands a command this process claimed on to another connector:
// it is queued again, addressed to toConnector ("" for any). ErrFenced when it
// is no longer ours.
func (s *Store) RetargetCommand(ctx context.Context, id, incarnation, toConnector string) error {
	changed, err := s.exec(ctx, retargetCommand, nullable(toConnector), id, incarnation)
	if err == nil && changed == 0 {
		err = ErrFenced
	}
	if err != nil {
		return fmt.Errorf("hand command on: %w", err)
	}
	return nil
}

// FinishCommand ends a command this process claimed: done, or failed with a
// code and a sentence that may be shown. ErrFenced when it is no longer ours:
// expired, or claimed by another. Calling it again is harmless.
func (s *Store) FinishCommand(ctx context.Context, id, incarnation string, done bool, errorCode, errText string, result json.RawMessage) error {
	state := CommandFailed
	if done {
		state = CommandDone
	}
	if len(result) > 0 && !json.Valid(result) {
		return fmt.Errorf("finish command: %w: result is not JSON", ErrBadInput)
	}
	changed, err := s.exec(ctx, finishCommand, state, cut(errorCode, maxErrorCode), cut(errText, maxErrorText),
		nullable(string(result)), id, incarnation)
	if err == nil && changed == 0 {
		err = s.alreadyFinished(ctx, id, incarnation, state)
	}
	if err != nil {
		return fmt.Errorf("finish command: %w", err)
	}
	return nil
}

// alreadyFinished returns nil if an earlier call whose answer was lost did it.
func (s *Store) alreadyFinished(ctx context.Context, id, incarnation, state string) error {
	c, err := s.Command(ctx, id)
	if err == nil && (c.Incarnation != incarnation || c.State != state) {
		err = ErrFenced
	}
	return err
}

// Limits of columns; longer texts are cut.
const (
	maxErrorCode = 64
	maxErrorText = 1024
)
