package cloudstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

const (
	lockBaseParts = `SELECT seq, part, parts FROM session_segments
		WHERE session_id = ? AND epoch = ? AND kind = 'base' AND seq >= ? ORDER BY seq FOR UPDATE`
	// Terminators stay for good: without its fence, a writer that slept since
	// would be told that its rows are durable.
	// Oldest first: an interruption leaves no hole behind an older base.
	pruneSegments = `DELETE FROM session_segments WHERE session_id = ? AND kind IN ('base', 'delta')
		AND (epoch < ? OR epoch = ? AND seq < ?) ORDER BY epoch, seq LIMIT ?`
)

// pruneBatch bounds one transaction's deletions.
const pruneBatch = 256

// Prune deletes a session's rows before (beforeEpoch, beforeSeq), the first
// part of a base, and returns how many there were (L2). Only the current owner
// may, and only before or at a complete base of its own term: the rows that
// follow then restore without the pruned ones. Of a term without a parent nothing
// before its first row is ever read: (epoch, 1) will do then, base or no base.
// ErrFenced when epoch is over, ErrBadInput when there is no such base.
func (s *Store) Prune(ctx context.Context, sessionID string, epoch, beforeEpoch, beforeSeq uint64) (pruned int64, err error) {
	if err := ValidateSessionID(sessionID); err != nil {
		return 0, err
	}
	for {
		var n int64
		err := s.withTransaction(ctx, func(tx *sql.Tx) (err error) {
			if err := lockOwnEpoch(ctx, tx, sessionID, epoch); err != nil {
				return err
			}
			if err := checkBoundary(ctx, tx, sessionID, epoch, beforeEpoch, beforeSeq); err != nil {
				return err
			}
			n, err = execOn(ctx, tx, pruneSegments, sessionID, beforeEpoch, beforeEpoch, beforeSeq, pruneBatch)
			return err
		})
		if err != nil {
			return pruned, fmt.Errorf("prune log: %w", err)
		}
		pruned += n
		if n < pruneBatch {
			return pruned, nil
		}
	}
}

// checkBoundary makes sure that a restore needs nothing before the boundary.
func checkBoundary(ctx context.Context, tx *sql.Tx, sessionID string, epoch, beforeEpoch, beforeSeq uint64) error {
	if beforeEpoch > epoch {
		return fmt.Errorf("%w: boundary in a later epoch", ErrBadInput)
	}
	if beforeEpoch == epoch && beforeSeq == 1 {
		e, err := one(ctx, tx, scanEpoch, lockEpoch, sessionID, epoch)
		if err != nil || e.ParentEpoch == 0 {
			return err
		}
	}
	at, err := one(ctx, tx, scanHead, lockSegmentHead, sessionID, beforeEpoch, beforeSeq)
	if errors.Is(err, ErrNotFound) || err == nil && (at.Kind != KindBase || at.Part != 1) {
		return fmt.Errorf("%w: boundary is not the first part of a base", ErrBadInput)
	}
	if err != nil {
		return err
	}
	from := beforeSeq
	if beforeEpoch < epoch {
		from = 1
	}
	parts, err := collect(ctx, tx, scanPart, lockBaseParts, sessionID, epoch, from)
	if err != nil {
		return err
	}
	if !hasCompleteBase(parts) {
		return fmt.Errorf("%w: no complete base in epoch %d", ErrBadInput, epoch)
	}
	return nil
}

// hasCompleteBase reports whether parts, in order of seq, hold all of one base.
func hasCompleteBase(parts []Segment) bool {
	run := uint16(0)
	for i, p := range parts {
		switch {
		case p.Part == 1:
			run = 1
		case i > 0 && run == p.Part-1 && p.Seq == parts[i-1].Seq+1 && p.Parts == parts[i-1].Parts:
			run = p.Part
		default:
			run = 0
		}
		if run != 0 && run == p.Parts {
			return true
		}
	}
	return false
}

func scanPart(row scanner) (seg Segment, err error) {
	err = row.Scan(&seg.Seq, &seg.Part, &seg.Parts)
	return seg, err
}
