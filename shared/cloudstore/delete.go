package cloudstore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
)

const (
	closeBackup   = `UPDATE session_owners SET backup = 'off', synced_at = NULL WHERE session_id = ? AND epoch = ?`
	deleteSession = `DELETE FROM whatsapp_sessions WHERE id = ?`
	entomb        = `UPDATE session_segments SET kind = 'deleted', data = '', tag = ?
		WHERE session_id = ? AND epoch = ? AND seq BETWEEN ? AND ?`
	deleteSegments = `DELETE FROM session_segments WHERE session_id = ? AND kind IN ('base', 'delta') AND epoch <= ? LIMIT ?`
	// Two statements, not a join: that might read all logs for the few that are meant.
	selectDeleted = `SELECT session_id, epoch FROM session_owners WHERE backup = 'off' AND session_id > ? ORDER BY session_id LIMIT ?`
	selectRevived = `SELECT DISTINCT session_id FROM session_segments WHERE session_id IN (%s) AND kind IN ('base', 'delta')`
)

// DeleteSession removes a session from the cloud (O10). In one transaction its
// log is terminated, its backup turned off and its credentials deleted: from
// then on it is not there, and its owner's next push is fenced, while it goes
// on locally. Then the log's rows go, terminators excepted. If that part is
// interrupted, calling again finishes it. ErrNotFound when there is nothing to
// delete.
func (s *Store) DeleteSession(ctx context.Context, sessionID string) error {
	if err := ValidateSessionID(sessionID); err != nil {
		return err
	}
	found, epoch, err := s.terminate(ctx, sessionID)
	if _, unknown := errors.AsType[*commitError](err); unknown {
		// Once more: it finds either the session, or what is left of it.
		_, epoch, err = s.terminate(ctx, sessionID)
		found = true
	}
	if err != nil {
		return fmt.Errorf("delete session: %w", err)
	}
	deleted, err := s.deleteLog(ctx, sessionID, epoch)
	if err == nil && !found && deleted == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("delete session: %w", err)
	}
	return nil
}

// FinishDelete removes what its owner's last push has left behind the mark of a
// DELETE: the parts behind the one that the mark stands in place of went in. The
// owner calls it once it was fenced, when nothing of it is on its way any more; what
// comes later still is FinishDeletes'. ErrFenced when the epoch is over or the session's backup isn't off.
func (s *Store) FinishDelete(ctx context.Context, sessionID string, epoch uint64) error {
	if err := ValidateSessionID(sessionID); err != nil {
		return err
	}
	err := s.withTransaction(ctx, func(tx *sql.Tx) error {
		o, err := one(ctx, tx, scanOwner, lockOwner, sessionID)
		if errors.Is(err, ErrNotFound) || err == nil && (o.Epoch != epoch || o.Backup != BackupOff) {
			return ErrFenced
		}
		return err
	})
	if _, unknown := errors.AsType[*commitError](err); unknown {
		err = nil // there was nothing to commit
	}
	if err == nil {
		_, err = s.deleteLog(ctx, sessionID, epoch) // of later epochs nothing, should one begin meanwhile
	}
	if err != nil {
		return fmt.Errorf("finish delete: %w", err)
	}
	return nil
}

// finishPage is how many deleted sessions FinishDeletes looks at with one statement.
const finishPage = 256

// FinishDeletes removes what there is of the logs of deleted sessions all the same: a
// statement that the network held up since before the DELETE may come after everybody
// who knew of it has gone. It returns how many sessions had any. One that can't be
// finished doesn't keep it from the others.
func (s *Store) FinishDeletes(ctx context.Context) (found int, err error) {
	var failed []error
	for after := ""; ; {
		page, err := s.deletedAfter(ctx, after)
		if err != nil {
			return found, errors.Join(append(failed, fmt.Errorf("list deleted sessions: %w", err))...)
		}
		revived, err := s.revived(ctx, page)
		if err != nil {
			return found, errors.Join(append(failed, fmt.Errorf("look for rows of deleted sessions: %w", err))...)
		}
		for _, at := range revived {
			switch err := s.FinishDelete(ctx, at.SessionID, at.Epoch); {
			case err == nil:
				found++
			case !errors.Is(err, ErrFenced): // else it was taken meanwhile
				failed = append(failed, err)
			}
		}
		if len(page) < finishPage {
			return found, errors.Join(failed...)
		}
		after = page[len(page)-1].SessionID
	}
}

// deletedAfter lists sessions without backup by id, a page of them.
func (s *Store) deletedAfter(ctx context.Context, id string) (page []SessionEpoch, err error) {
	err = s.retry(ctx, func() (err error) {
		page, err = collect(ctx, s.db, func(row scanner) (at SessionEpoch, err error) {
			err = row.Scan(&at.SessionID, &at.Epoch)
			return at, err
		}, selectDeleted, id, finishPage)
		return err
	})
	return page, err
}

// revived returns those of some deleted sessions that have rows with data.
func (s *Store) revived(ctx context.Context, deleted []SessionEpoch) (revived []SessionEpoch, err error) {
	if len(deleted) == 0 {
		return nil, nil
	}
	args := make([]any, len(deleted))
	epochs := make(map[string]uint64, len(deleted))
	for i, at := range deleted {
		args[i], epochs[at.SessionID] = at.SessionID, at.Epoch
	}
	err = s.retry(ctx, func() (err error) {
		revived, err = collect(ctx, s.db, func(row scanner) (at SessionEpoch, err error) {
			err = row.Scan(&at.SessionID)
			at.Epoch = epochs[at.SessionID]
			return at, err
		}, fmt.Sprintf(selectRevived, repeat("?", len(args))), args...)
		return err
	})
	return revived, err
}

// terminate ends the session's log and deletes its credentials. found is false
// when it had none; epoch is the one up to which rows may be deleted, 0 where
// there are none to delete.
func (s *Store) terminate(ctx context.Context, sessionID string) (found bool, epoch uint64, err error) {
	err = s.withTransaction(ctx, func(tx *sql.Tx) error {
		found, epoch = false, 0
		o, err := one(ctx, tx, scanOwner, lockOwner, sessionID)
		hasOwner := err == nil
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		row, err := lockSession(ctx, tx, sessionID)
		if errors.Is(err, ErrNotFound) || errors.Is(err, ErrSessionIDTaken) {
			if o.Backup == BackupOff {
				epoch = o.Epoch // what an interrupted call left
			}
			return nil
		}
		if err != nil {
			return err
		}
		if hasOwner {
			if err := terminateLog(ctx, tx, o); err != nil {
				return err
			}
			epoch = o.Epoch
		}
		found = true
		_, err = execOn(ctx, tx, deleteSession, row.id)
		return err
	})
	return found, epoch, err
}

// terminateLog turns backup off and marks the current epoch's log as deleted,
// behind whatever stands there.
func terminateLog(ctx context.Context, tx *sql.Tx, o Owner) error {
	if _, err := execOn(ctx, tx, closeBackup, o.SessionID, o.Epoch); err != nil {
		return err
	}
	heads, err := lockLogHeads(ctx, tx, Epoch{SessionID: o.SessionID, Epoch: o.Epoch})
	if err != nil {
		return err
	}
	end := findEnd(heads)
	if end.deleted {
		return nil
	}
	var tag [32]byte
	_, _ = rand.Read(tag[:]) // never fails
	at := end.last + 1
	if end.terminated {
		at = end.max + 1 // behind the seal; its owner writes no more
	}
	_, err = execOn(ctx, tx, insertTerminator, o.SessionID, o.Epoch, at, string(KindDeleted), tag[:])
	if isDuplicate(err) {
		return errStartOver
	}
	if err != nil {
		return err
	}
	// The owner may not know yet that its last push is durable and send it
	// again: something must stand in its place, or the rows would come back.
	from, to := lastPush(heads, end.last)
	if to == 0 {
		return nil
	}
	_, err = execOn(ctx, tx, entomb, tag[:], o.SessionID, o.Epoch, from, to)
	return err
}

// lastPush returns the seqs of the last push's parts that are there.
func lastPush(heads []Segment, last uint64) (from, to uint64) {
	for _, row := range heads {
		if row.Seq == last && row.Kind.IsData() {
			return row.Seq - uint64(row.Part) + 1, row.Seq
		}
	}
	return 0, 0
}

// deleteLog deletes all data rows up to an epoch, some at a time.
func (s *Store) deleteLog(ctx context.Context, sessionID string, upTo uint64) (deleted int64, err error) {
	for upTo > 0 {
		n, err := s.exec(ctx, deleteSegments, sessionID, upTo, pruneBatch)
		if err != nil {
			return deleted, fmt.Errorf("delete log: %w", err)
		}
		deleted += n
		if n < pruneBatch {
			break
		}
	}
	return deleted, nil
}
