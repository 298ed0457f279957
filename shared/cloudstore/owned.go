package cloudstore

import (
	"context"
	"fmt"
)

// digestOwnersOf sums up what compares: the text of a row begins with the
// session's id, which no other row has, so that no two rows cancel each other out.
const digestOwnersOf = `SELECT COUNT(*), COALESCE(BIT_XOR(CAST(CONV(LEFT(MD5(CONCAT_WS('|',
		session_id, epoch, wanted, backup, failover, COALESCE(not_before, ''))), 16), 16, 10) AS UNSIGNED)), 0)
	FROM session_owners WHERE connector_id = ?`

// Owned is the sessions a connector owns, by session id. The zero value knows
// nothing yet.
//
// Of each row SessionID, ConnectorID, Epoch, Wanted, Backup, Failover and NotBefore
// are as they were when it was last asked for. The rest may be older.
type Owned struct {
	Rows   []Owner
	digest ownedDigest // of Rows, or of what they were a moment before
}

// ownedDigest is zero for no rows.
type ownedDigest struct{ rows, sum uint64 }

// RefreshOwned returns what a connector owns now. known is what it was the last
// time: unless something has changed the database sends nothing but a digest.
func (s *Store) RefreshOwned(ctx context.Context, connectorID string, known Owned) (Owned, error) {
	var digest ownedDigest
	err := s.retry(ctx, func() (err error) {
		digest, err = one(ctx, s.db, scanOwnedDigest, digestOwnersOf, connectorID)
		return err
	})
	if err == nil && digest == known.digest {
		return known, nil
	}
	owned := Owned{digest: digest}
	if err == nil {
		// Later, and by itself: rows that are newer than their digest are read once more,
		// older ones would stand until the next change. One snapshot would do as well
		// if the embedded engine's could be relied on.
		owned.Rows, err = s.OwnersOf(ctx, connectorID)
	}
	if err != nil {
		return known, fmt.Errorf("compare owned sessions: %w", err)
	}
	return owned, nil
}

func scanOwnedDigest(row scanner) (d ownedDigest, err error) {
	err = row.Scan(&d.rows, &d.sum)
	return d, err
}
