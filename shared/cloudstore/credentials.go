package cloudstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

const (
	// The id's column may be of the Node service's making, with a collation
	// that takes different ids for the same: every reader compares bytes again.
	selectCredentials = `SELECT session_id, session_data, epoch FROM whatsapp_sessions WHERE session_id = ?`
	// Plain columns only: such a statement TiDB reads by point, without planning it
	// (buildSchemaFromFields in its pkg/planner/core).
	lockSessionRow    = `SELECT id, session_id, epoch, session_data FROM whatsapp_sessions WHERE session_id = ? FOR UPDATE`
	updateCredentials = `UPDATE whatsapp_sessions SET session_data = ?, epoch = ?, last_synced_at = NOW()
		WHERE id = ? AND epoch <= ?`
	insertCredentials = `INSERT INTO whatsapp_sessions (session_id, session_data, epoch, last_synced_at)
		VALUES (?, ?, ?, NOW())`
)

// ErrSessionIDTaken means that the id's row in whatsapp_sessions belongs to
// another id, which that table's collation takes for the same.
var ErrSessionIDTaken = errors.New("another session in whatsapp_sessions has an id its collation takes for the same")

// Credentials reads the sealed credentials of a session. ErrNotFound means that
// the database answered and has none.
func (s *Store) Credentials(ctx context.Context, sessionID string) (Credentials, error) {
	if err := ValidateSessionID(sessionID); err != nil {
		return Credentials{}, err
	}
	var c Credentials
	err := s.retry(ctx, func() (err error) {
		c, err = one(ctx, s.db, scanCredentials, selectCredentials, sessionID)
		return err
	})
	if err == nil && c.SessionID != sessionID {
		err = ErrNotFound
	}
	if err != nil {
		return Credentials{}, fmt.Errorf("read credentials: %w", err)
	}
	return c, nil
}

func scanCredentials(row scanner) (c Credentials, err error) {
	err = row.Scan(&c.SessionID, &c.Data, &c.Epoch)
	return c, err
}

// PutCredentials writes the sealed credentials of a session held under
// c.Epoch (P7). A row that doesn't exist is created only by the session's
// current owner whose backup isn't off: a late write must not bring back what
// was deleted. ErrFenced when the epoch is over. Calling it again is harmless.
func (s *Store) PutCredentials(ctx context.Context, c Credentials) error {
	if err := checkCredentials(c); err != nil {
		return fmt.Errorf("write credentials: %w", err)
	}
	err := s.withTransaction(ctx, func(tx *sql.Tx) error {
		if err := lockOwnEpoch(ctx, tx, c.SessionID, c.Epoch); err != nil {
			return err
		}
		return putCredentials(ctx, tx, c)
	})
	if err != nil {
		return fmt.Errorf("write credentials: %w", err)
	}
	return nil
}

// putCredentials updates first and inserts only where there is no row: an
// upsert would use up an id each time.
func putCredentials(ctx context.Context, tx *sql.Tx, c Credentials) error {
	row, err := lockSession(ctx, tx, c.SessionID)
	switch {
	case errors.Is(err, ErrNotFound):
		_, err := execOn(ctx, tx, insertCredentials, c.SessionID, c.Data, c.Epoch)
		if isDuplicate(err) {
			return errStartOver
		}
		return err
	case err != nil:
		return err
	case row.epoch > c.Epoch:
		return ErrFenced
	}
	_, err = execOn(ctx, tx, updateCredentials, c.Data, c.Epoch, row.id, c.Epoch)
	return err
}

// sessionRow is a locked row of whatsapp_sessions.
type sessionRow struct {
	id        int64
	sessionID string
	epoch     uint64
	data      []byte
}

// lockSession locks a session's row of whatsapp_sessions. ErrNotFound when
// there is none; ErrSessionIDTaken when the one found is another id's.
func lockSession(ctx context.Context, tx *sql.Tx, sessionID string) (sessionRow, error) {
	row, err := one(ctx, tx, func(row scanner) (r sessionRow, err error) {
		err = row.Scan(&r.id, &r.sessionID, &r.epoch, &r.data)
		return r, err
	}, lockSessionRow, sessionID)
	if err == nil && row.sessionID != sessionID {
		err = ErrSessionIDTaken
	}
	return row, err
}

func checkCredentials(c Credentials) error {
	if err := ValidateSessionID(c.SessionID); err != nil {
		return err
	}
	switch {
	case c.Epoch == 0:
		return fmt.Errorf("%w: epoch 0", ErrBadInput)
	case len(c.Data) == 0:
		return fmt.Errorf("%w: empty credentials", ErrBadInput)
	case len(c.Data) > MaxCredentialsBytes:
		return fmt.Errorf("%w: credentials of %d bytes, at most %d", ErrTooLarge, len(c.Data), MaxCredentialsBytes)
	}
	return nil
}
