package cloudstore

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Values of the columns of session_owners.
const (
	WantedOpen   = "open"
	WantedClosed = "closed"
	WantedRest   = "rest" // it has ended, and what its application has not taken is still to be delivered

	BackupFull        = "full"        // the log and the credentials
	BackupCredentials = "credentials" // the credentials only: every start is safe
	BackupOff         = "off"         // nothing, as after DELETE

	FailoverAuto   = "auto"
	FailoverManual = "manual" // nobody takes it from a dead owner unasked
)

// Owner is a row of session_owners. Rows are never deleted and their epoch
// only grows: it is the fencing token.
type Owner struct {
	SessionID     string
	ConnectorID   string // "" when nobody owns it
	Epoch         uint64
	Wanted        string    // WantedOpen, WantedRest or WantedClosed
	ReservedFor   string    // connector that may take a free session first, or ""
	ReservedUntil time.Time // until then; TiDB's clock; zero when not reserved
	State         string    // what the owner last said, see connector/whatsapp
	StateDetail   string
	StateAt       time.Time // zero when never set
	Backup        string    // BackupFull, BackupCredentials or BackupOff
	Failover      string    // FailoverAuto or FailoverManual
	SyncedAt      time.Time // last durable push; zero when never
	NotBefore     time.Time // until then nobody may take it; TiDB's clock; zero for no such time
}

const (
	selectOwner = `SELECT session_id, connector_id, epoch, wanted, reserved_for, reserved_until, state, state_detail, state_at, backup, failover, synced_at, not_before
		FROM session_owners WHERE session_id = ?`
	selectOwnersOf = `SELECT session_id, connector_id, epoch, wanted, reserved_for, reserved_until, state, state_detail, state_at, backup, failover, synced_at, not_before
		FROM session_owners WHERE connector_id = ? ORDER BY session_id`
	lockOwner = `SELECT session_id, connector_id, epoch, wanted, reserved_for, reserved_until, state, state_detail, state_at, backup, failover, synced_at, not_before
		FROM session_owners WHERE session_id = ? FOR UPDATE`

	updateState    = `UPDATE session_owners SET state = ?, state_detail = ?, state_at = NOW(6) WHERE session_id = ? AND epoch = ?`
	updateWanted   = `UPDATE session_owners SET wanted = ? WHERE session_id = ?`
	updateBackup   = `UPDATE session_owners SET backup = ? WHERE session_id = ? AND backup <> 'off'`
	updateFailover = `UPDATE session_owners SET failover = ? WHERE session_id = ?`
	updateRelease  = `UPDATE session_owners SET connector_id = NULL, wanted = ?, reserved_for = ?, reserved_until = NOW(6) + INTERVAL ? MICROSECOND
		WHERE session_id = ? AND epoch = ?`
)

// Limits of columns; longer texts are cut.
const (
	maxState       = 32
	maxStateDetail = 1024
)

// Owner reads a session's owner row. ErrNotFound when it was never taken.
func (s *Store) Owner(ctx context.Context, sessionID string) (Owner, error) {
	if err := ValidateSessionID(sessionID); err != nil {
		return Owner{}, err
	}
	var o Owner
	err := s.retry(ctx, func() (err error) {
		o, err = one(ctx, s.db, scanOwner, selectOwner, sessionID)
		return err
	})
	if err != nil {
		return Owner{}, fmt.Errorf("read owner: %w", err)
	}
	return o, nil
}

// OwnersOf returns the sessions a connector owns, by session id.
func (s *Store) OwnersOf(ctx context.Context, connectorID string) (owners []Owner, err error) {
	err = s.retry(ctx, func() (err error) {
		owners, err = collect(ctx, s.db, scanOwner, selectOwnersOf, connectorID)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read owned sessions: %w", err)
	}
	return owners, nil
}

// SetState notes what the owner says about a session it holds under epoch.
// ErrFenced when that epoch is over. Too long a detail is cut.
func (s *Store) SetState(ctx context.Context, sessionID string, epoch uint64, state, detail string) error {
	if len(state) > maxState {
		return fmt.Errorf("set state: %w: state of %d bytes", ErrBadInput, len(state))
	}
	changed, err := s.exec(ctx, updateState, state, cut(detail, maxStateDetail), sessionID, epoch)
	if err == nil && changed == 0 {
		err = ErrFenced
	}
	if err != nil {
		return fmt.Errorf("set state: %w", err)
	}
	return nil
}

// SetWanted says whether a session is to be open: WantedOpen, WantedRest or WantedClosed.
// ErrNotFound when the session was never taken.
func (s *Store) SetWanted(ctx context.Context, sessionID, wanted string) error {
	return s.setChoice(ctx, updateWanted, sessionID, "wanted", wanted, WantedOpen, WantedRest, WantedClosed)
}

// ErrCopyDeleted means that a session's copy was deleted: only a new copy, which a
// sync makes, turns its backup on again.
var ErrCopyDeleted = errors.New("the copy of the session was deleted")

// SetBackup says what of a session is kept in the database: BackupFull,
// BackupCredentials or BackupOff. ErrNotFound when it was never taken, ErrCopyDeleted
// where the other two would promise a copy that there isn't.
func (s *Store) SetBackup(ctx context.Context, sessionID, backup string) error {
	err := s.setChoice(ctx, updateBackup, sessionID, "backup", backup, BackupFull, BackupCredentials, BackupOff)
	if err != nil || backup == BackupOff {
		return err
	}
	o, err := s.Owner(ctx, sessionID)
	if err == nil && o.Backup == BackupOff {
		err = ErrCopyDeleted
	}
	if err != nil {
		return fmt.Errorf("set backup: %w", err)
	}
	return nil
}

// SetFailover says whether others take a session from a dead owner unasked:
// FailoverAuto or FailoverManual. ErrNotFound when it was never taken.
func (s *Store) SetFailover(ctx context.Context, sessionID, failover string) error {
	return s.setChoice(ctx, updateFailover, sessionID, "failover", failover, FailoverAuto, FailoverManual)
}

func (s *Store) setChoice(ctx context.Context, query, sessionID, column, value string, choices ...string) error {
	if err := ValidateSessionID(sessionID); err != nil {
		return err
	}
	if !slices.Contains(choices, value) {
		return fmt.Errorf("set %s: %w: %q", column, ErrBadInput, value)
	}
	changed, err := s.exec(ctx, query, value, sessionID)
	if err == nil && changed == 0 {
		// Either it had the value, or there is no such row.
		_, err = s.Owner(ctx, sessionID)
	}
	if err != nil {
		return fmt.Errorf("set %s: %w", column, err)
	}
	return nil
}

// Release gives up a session held under epoch (O6): it is free, for reserveFor
// alone during reserve if that is not "". wanted "" leaves that as it is.
// ErrFenced when the epoch is over. Calling it again is harmless.
func (s *Store) Release(ctx context.Context, sessionID string, epoch uint64, reserveFor string, reserve time.Duration, wanted string) error {
	if err := ValidateSessionID(sessionID); err != nil {
		return err
	}
	if !slices.Contains([]string{"", WantedOpen, WantedRest, WantedClosed}, wanted) {
		return fmt.Errorf("release session: %w: wanted %q", ErrBadInput, wanted)
	}
	err := s.withTransaction(ctx, func(tx *sql.Tx) error {
		o, err := one(ctx, tx, scanOwner, lockOwner, sessionID)
		if errors.Is(err, ErrNotFound) || err == nil && o.Epoch != epoch {
			return ErrFenced
		}
		if err != nil {
			return err
		}
		// Not kept for the next attempt, should this one be started over.
		_, err = execOn(ctx, tx, updateRelease, cmp.Or(wanted, o.Wanted), nullable(reserveFor), max(0, reserve.Microseconds()), sessionID, epoch)
		return err
	})
	if err != nil {
		return fmt.Errorf("release session: %w", err)
	}
	return nil
}

// lockOwnEpoch locks a session's owner row for a write made under epoch.
// ErrFenced when the epoch is over or the session's backup is off.
func lockOwnEpoch(ctx context.Context, tx *sql.Tx, sessionID string, epoch uint64) error {
	o, err := one(ctx, tx, scanOwner, lockOwner, sessionID)
	switch {
	case errors.Is(err, ErrNotFound):
		return ErrFenced
	case err != nil:
		return err
	case o.Epoch != epoch || o.Backup == BackupOff:
		return ErrFenced
	}
	return nil
}

func scanOwner(row scanner) (o Owner, err error) {
	var connector, reservedFor sql.NullString
	var reservedUntil, stateAt, syncedAt, notBefore sql.NullTime
	err = row.Scan(&o.SessionID, &connector, &o.Epoch, &o.Wanted, &reservedFor, &reservedUntil,
		&o.State, &o.StateDetail, &stateAt, &o.Backup, &o.Failover, &syncedAt, &notBefore)
	o.ConnectorID = connector.String
	if o.ReservedFor = reservedFor.String; reservedFor.Valid {
		o.ReservedUntil = reservedUntil.Time
	}
	o.StateAt, o.SyncedAt, o.NotBefore = stateAt.Time, syncedAt.Time, notBefore.Time
	return o, err
}

// nullable is NULL for "".
func nullable(text string) sql.NullString { return sql.NullString{String: text, Valid: text != ""} }

// cut shortens text to at most limit bytes, and so characters, without cutting
// one in two, and replaces what is not UTF-8, which the database refuses.
func cut(text string, limit int) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= limit {
		return text
	}
	for !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit]
}
