package cloudstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

const (
	insertSegment = `INSERT INTO session_segments (session_id, epoch, seq, kind, part, parts, data, tag)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?)`
	lockTag = `SELECT session_id, epoch, seq, tag FROM session_segments
		WHERE session_id = ? AND epoch = ? AND seq = ? FOR UPDATE`
)

// AppendFirstBase writes the last part of a session's first base and its
// credentials in one transaction, so that a session is never listed before it
// can be restored (P7). On an error nothing is known, and the same call may be
// made again; otherwise both are Durable, or neither is.
func (s *Store) AppendFirstBase(ctx context.Context, last Segment, creds Credentials) (Outcome, error) {
	if err := errors.Join(checkSegment(last), checkCredentials(creds)); err != nil {
		return Absent, fmt.Errorf("append first base: %w", err)
	}
	if last.Kind != KindBase || last.Part != last.Parts || last.SessionID != creds.SessionID || last.Epoch != creds.Epoch {
		return Absent, fmt.Errorf("append first base: %w: not the last part of a base with its session's credentials", ErrBadInput)
	}
	outcome, err := s.appendFirstBase(ctx, last, creds)
	if _, unknown := errors.AsType[*commitError](err); unknown {
		// The second run finds the row of the first, if it was committed.
		outcome, err = s.appendFirstBase(ctx, last, creds)
	}
	if errors.Is(err, ErrFenced) {
		return Fenced, nil
	}
	if err != nil {
		return Absent, fmt.Errorf("append first base: %w", err)
	}
	return outcome, nil
}

func (s *Store) appendFirstBase(ctx context.Context, last Segment, creds Credentials) (Outcome, error) {
	err := s.withTransaction(ctx, func(tx *sql.Tx) error {
		if err := lockOwnEpoch(ctx, tx, last.SessionID, last.Epoch); err != nil {
			return err
		}
		stands, err := one(ctx, tx, scanTag, lockTag, last.SessionID, last.Epoch, last.Seq)
		switch {
		case err == nil && stands.Tag != last.Tag:
			return ErrFenced
		case errors.Is(err, ErrNotFound):
			if _, err := execData(ctx, tx, len(last.Data), insertSegment, segmentArgs([]Segment{last})...); err != nil {
				if isDuplicate(err) {
					return errStartOver
				}
				return err
			}
		case err != nil:
			return err
		}
		return putCredentials(ctx, tx, creds)
	})
	if err != nil {
		return Absent, err
	}
	return Durable, nil
}
