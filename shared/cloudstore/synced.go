package cloudstore

import (
	"context"
	"fmt"
)

const (
	touchOwners = `UPDATE session_owners SET synced_at = NOW(6) WHERE (session_id, epoch) IN (%s)`
	onePair     = `(?, ?)`

	// last_synced_at has whole seconds: cut, not rounded up into the future.
	// The join compares bytes, whatever the column's own collation.
	copySynced = `UPDATE whatsapp_sessions w
		JOIN session_owners o ON o.session_id = w.session_id COLLATE utf8mb4_0900_bin
		SET w.last_synced_at = o.synced_at - INTERVAL MICROSECOND(o.synced_at) MICROSECOND
		WHERE w.session_id IN (%s) AND o.session_id IN (%s) AND o.synced_at > COALESCE(w.last_synced_at, FROM_UNIXTIME(0))`
)

// touchGroup bounds one statement's list.
const touchGroup = 500

// Touch notes that sessions were pushed now. Those whose epoch is over are left
// alone in silence: fencing is found by the push itself.
func (s *Store) Touch(ctx context.Context, sessions []SessionEpoch) error {
	for len(sessions) > 0 {
		n := min(len(sessions), touchGroup)
		args := make([]any, 0, 2*n)
		for _, session := range sessions[:n] {
			args = append(args, session.SessionID, session.Epoch)
		}
		if _, err := s.exec(ctx, fmt.Sprintf(touchOwners, repeat(onePair, n)), args...); err != nil {
			return fmt.Errorf("note push times: %w", err)
		}
		sessions = sessions[n:]
	}
	return nil
}

// CopySynced brings last_synced_at of the given sessions up to what Touch
// noted. It rewrites rows that hold the credentials: do it now and then.
func (s *Store) CopySynced(ctx context.Context, sessionIDs []string) error {
	for len(sessionIDs) > 0 {
		n := min(len(sessionIDs), touchGroup)
		args := make([]any, 0, 2*n)
		for range 2 {
			for _, id := range sessionIDs[:n] {
				args = append(args, id)
			}
		}
		list := repeat("?", n)
		if _, err := s.exec(ctx, fmt.Sprintf(copySynced, list, list), args...); err != nil {
			return fmt.Errorf("copy push times: %w", err)
		}
		sessionIDs = sessionIDs[n:]
	}
	return nil
}
