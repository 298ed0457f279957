package cloudstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"
)

// ErrNotYet means that nobody may take the session before the time its owner row names.
var ErrNotYet = errors.New("session may not be taken yet")

// Ending is how a session came to an end that no connector mends by itself.
type Ending struct {
	State, Detail string
	Wanted        string // WantedOpen, WantedRest or WantedClosed
	// Pause is how long nobody may take the session, by TiDB's clock; 0 for no such time.
	Pause time.Duration
}

const (
	updateEnding = `UPDATE session_owners SET state = ?, state_detail = ?, state_at = NOW(6), wanted = ?,
			not_before = IF(? > 0, NOW(6) + INTERVAL ? MICROSECOND, NULL)
		WHERE session_id = ? AND epoch = ?`
	// NOW(6) in a column: the pause ends by TiDB's clock.
	lockNotBefore = `SELECT COALESCE(not_before > NOW(6), FALSE) FROM session_owners WHERE session_id = ? FOR UPDATE`
)

// End notes that the session held under epoch has ended, in one statement: from
// then on no connector takes it over, whatever becomes of this one, or, with
// WantedRest, only to deliver what is left. The row is still to be released.
// ErrFenced when the epoch is over. Calling it again is harmless, but for the pause
// that begins anew.
func (s *Store) End(ctx context.Context, sessionID string, epoch uint64, e Ending) error {
	if err := ValidateSessionID(sessionID); err != nil {
		return err
	}
	if len(e.State) > maxState || !slices.Contains([]string{WantedOpen, WantedRest, WantedClosed}, e.Wanted) || e.Pause < 0 {
		return fmt.Errorf("end session: %w: state %q, wanted %q, pause %s", ErrBadInput, e.State, e.Wanted, e.Pause)
	}
	pause := e.Pause.Microseconds()
	changed, err := s.exec(ctx, updateEnding, e.State, cut(e.Detail, maxStateDetail), e.Wanted, pause, pause, sessionID, epoch)
	if err == nil && changed == 0 {
		err = ErrFenced
	}
	if err != nil {
		return fmt.Errorf("end session: %w", err)
	}
	return nil
}

// mayTakeYet returns ErrNotYet while the owner row's pause lasts.
func mayTakeYet(ctx context.Context, tx *sql.Tx, o Owner) error {
	if o.NotBefore.IsZero() {
		return nil
	}
	early, err := one(ctx, tx, scanBool, lockNotBefore, o.SessionID)
	if err == nil && early {
		err = fmt.Errorf("%w: not before %s: %s", ErrNotYet, o.NotBefore.UTC().Format(time.RFC3339), o.StateDetail)
	}
	return err
}
