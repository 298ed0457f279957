package cloudstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

const (
	selectOwnerIDs = `SELECT session_id FROM session_owners WHERE session_id > ? ORDER BY session_id LIMIT ?`
	selectNow      = `SELECT NOW(6)`
	// A session without backup stays its owner's: nobody else has a copy, or may take it.
	freeOwner = `UPDATE session_owners SET connector_id = IF(backup = 'off', connector_id, NULL), epoch = ?, reserved_for = NULL, reserved_until = NULL
		WHERE session_id = ? AND epoch = ?`
)

// MarkDatabaseRestored ends the current epoch of every session and frees it, but
// for those without backup, and returns how many there were: after a restore of the
// database from a backup, what stands in it is older than what the sessions did
// since, so each next start must be safe. The new epochs are numbered from the
// clock, beyond any that was given out after the backup was made: no process, and no
// second restore, meets a number twice. If it is interrupted, call it again.
//
// Sessions whose rows are incomplete or whose log is damaged are left as they are, and
// named in the error; it is ErrNotFound or ErrLogDamaged then, and all others are marked.
func (s *Store) MarkDatabaseRestored(ctx context.Context) (marked int, err error) {
	const page, named = 256, 10
	var incomplete []error
	for last := ""; ; {
		ids, err := collect(ctx, s.db, scanString, selectOwnerIDs, last, page)
		if err != nil {
			return marked, fmt.Errorf("mark sessions as restored: %w", err)
		}
		for _, id := range ids {
			err := s.withTransaction(ctx, func(tx *sql.Tx) error { return markRestored(ctx, tx, id) })
			switch {
			case err == nil:
				marked++
			case errors.Is(err, ErrNotFound), errors.Is(err, ErrLogDamaged):
				incomplete = append(incomplete, fmt.Errorf("session %q: %w", id, err))
			default:
				return marked, fmt.Errorf("mark sessions as restored: session %q: %w", id, err)
			}
		}
		if len(ids) < page {
			break
		}
		last = ids[len(ids)-1]
	}
	if n := len(incomplete); n > 0 {
		return marked, fmt.Errorf("%d sessions could not be marked as restored: %w", n, errors.Join(incomplete[:min(n, named)]...))
	}
	return marked, nil
}

// ErrLogDamaged means that rows of a session's log are missing that were durable once.
var ErrLogDamaged = errors.New("rows of its log are missing")

// markRestored is a take by nobody. An epoch behind a damaged log would hide the damage.
func markRestored(ctx context.Context, tx *sql.Tx, sessionID string) error {
	r := TakeRequest{SessionID: sessionID, Reason: "database restored"}
	v, err := lockForTake(ctx, tx, r)
	if errors.Is(err, ErrNotFound) || v.owner.Epoch == 0 {
		return err
	}
	if err != nil {
		return err
	}
	parent, err := readParent(ctx, tx, v)
	if err != nil {
		return err
	}
	if parent.Damaged {
		return ErrLogDamaged
	}
	if err := fence(ctx, tx, r, parent.Parent); err != nil {
		return err
	}
	now, err := one(ctx, tx, scanTime, selectNow)
	if err != nil {
		return err
	}
	epoch := max(v.owner.Epoch+1, v.credentials.epoch+1, uint64(now.UnixMicro()))
	_, err = execOn(ctx, tx, insertEpoch, sessionID, epoch, parent.lastEpoch, parent.lastSeq, "", "", r.Nonce[:], StartSafe, r.Reason)
	if err != nil {
		return err
	}
	changed, err := execOn(ctx, tx, freeOwner, epoch, sessionID, v.owner.Epoch)
	if err == nil && changed != 1 {
		return errStartOver
	}
	if err != nil || !v.hasRow {
		return err
	}
	_, err = execOn(ctx, tx, raiseCredentialsEpoch, epoch, v.credentials.id, epoch)
	return err
}

func scanString(row scanner) (text string, err error) {
	err = row.Scan(&text)
	return text, err
}

func scanTime(row scanner) (t time.Time, err error) {
	err = row.Scan(&t)
	return t, err
}
