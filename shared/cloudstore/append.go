package cloudstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
)

const (
	// The assignment changes nothing: a row that stands stays as it is and
	// counts as zero affected rows, and the other rows of the group go in.
	// INSERT IGNORE would hide other errors, a bare INSERT would let one
	// fenced session fail everybody's.
	insertSegments = `INSERT INTO session_segments (session_id, epoch, seq, kind, part, parts, data, tag)
		VALUES %s ON DUPLICATE KEY UPDATE tag = session_segments.tag`
	oneSegmentRow = `(?, ?, ?, ?, ?, ?, ?, ?)`

	lockTags = `SELECT session_id, epoch, seq, tag FROM session_segments
		WHERE (session_id, epoch, seq) IN (%s) FOR UPDATE`
	oneRef = `(?, ?, ?)`
)

// AppendSegments writes rows of any number of sessions in one statement and
// says what became of each (P4). A session's rows must be in order of seq and
// nothing of it may be under way elsewhere. The answer is definite: where the
// database's own was lost, the tags are read back. On an error nothing is
// known, and the same call may be made again with the same bytes.
//
// Errors wrap ErrTooLarge, ErrBadSessionID or ErrBadInput when nothing was sent.
func (s *Store) AppendSegments(ctx context.Context, segs []Segment) ([]Outcome, error) {
	if len(segs) == 0 {
		return nil, nil
	}
	size, err := checkGroup(segs)
	if err != nil {
		return nil, fmt.Errorf("append segments: %w", err)
	}
	changed, err := execData(ctx, s.db, size, fmt.Sprintf(insertSegments, repeat(oneSegmentRow, len(segs))), segmentArgs(segs)...)
	outcomes := make([]Outcome, len(segs))
	if err == nil && changed == int64(len(segs)) {
		for i := range outcomes {
			outcomes[i] = Durable
		}
		return outcomes, nil
	}
	// Some stood already, or the answer was lost or was an error: the table
	// knows.
	tags, readErr := s.readTags(ctx, segs)
	if readErr != nil {
		return nil, fmt.Errorf("append segments: outcome unknown: %w", errors.Join(err, readErr))
	}
	judge(segs, tags, outcomes)
	return outcomes, permanent(err, outcomes)
}

// permanent returns err if the statement was refused for a reason that sending
// the same bytes again won't mend: the caller must hear of it.
func permanent(err error, outcomes []Outcome) error {
	if err == nil || IsUnavailable(err) || errors.Is(err, context.Canceled) {
		return nil
	}
	if slices.Contains(outcomes, Absent) {
		return fmt.Errorf("append segments: %w", err)
	}
	return nil
}

// judge compares what stands with what was sent.
func judge(segs []Segment, tags map[SegmentRef][32]byte, outcomes []Outcome) {
	fenced := map[SessionEpoch]bool{}
	for i, seg := range segs {
		term := SessionEpoch{seg.SessionID, seg.Epoch}
		tag, stands := tags[SegmentRef{seg.SessionID, seg.Epoch, seg.Seq}]
		switch {
		case fenced[term], stands && tag != seg.Tag:
			outcomes[i] = Fenced
			fenced[term] = true
		case stands:
			outcomes[i] = Durable
		default:
			outcomes[i] = Absent
		}
	}
}

// readTags reads what stands at the given places. The read locks: it waits for
// whatever is still being committed there, which a plain read might not see.
func (s *Store) readTags(ctx context.Context, segs []Segment) (map[SegmentRef][32]byte, error) {
	args := make([]any, 0, 3*len(segs))
	for _, seg := range segs {
		args = append(args, seg.SessionID, seg.Epoch, seg.Seq)
	}
	var found []Segment
	err := s.withTransaction(ctx, func(tx *sql.Tx) (err error) {
		found, err = collect(ctx, tx, scanTag, fmt.Sprintf(lockTags, repeat(oneRef, len(segs))), args...)
		return err
	})
	if _, unknown := errors.AsType[*commitError](err); err != nil && !unknown { // there was nothing to commit
		return nil, fmt.Errorf("read tags back: %w", err)
	}
	tags := make(map[SegmentRef][32]byte, len(found))
	for _, seg := range found {
		tags[SegmentRef{seg.SessionID, seg.Epoch, seg.Seq}] = seg.Tag
	}
	return tags, nil
}

// checkGroup refuses what the database or a reader would refuse later, and
// returns the size of all data.
func checkGroup(segs []Segment) (size int, err error) {
	if len(segs) > MaxGroupRows {
		return 0, fmt.Errorf("%w: group of %d rows, at most %d", ErrTooLarge, len(segs), MaxGroupRows)
	}
	for _, seg := range segs {
		if err := checkSegment(seg); err != nil {
			return 0, err
		}
		size += len(seg.Data)
	}
	if size > MaxGroupBytes {
		return 0, fmt.Errorf("%w: group of %d bytes, at most %d", ErrTooLarge, size, MaxGroupBytes)
	}
	return size, nil
}

func checkSegment(seg Segment) error {
	if err := ValidateSessionID(seg.SessionID); err != nil {
		return err
	}
	switch {
	case seg.Epoch == 0 || seg.Seq == 0:
		return fmt.Errorf("%w: segment of epoch %d, seq %d", ErrBadInput, seg.Epoch, seg.Seq)
	case !seg.Kind.IsData() && seg.Kind != KindSeal:
		return fmt.Errorf("%w: segment of kind %q can't be appended", ErrBadInput, seg.Kind)
	case seg.Part == 0 || seg.Part > seg.Parts:
		return fmt.Errorf("%w: part %d of %d", ErrBadInput, seg.Part, seg.Parts)
	case len(seg.Data) > MaxSegmentBytes:
		return fmt.Errorf("%w: segment of %d bytes, at most %d", ErrTooLarge, len(seg.Data), MaxSegmentBytes)
	}
	return nil
}

func segmentArgs(segs []Segment) []any {
	args := make([]any, 0, 8*len(segs))
	for _, seg := range segs {
		data := seg.Data
		if data == nil {
			data = []byte{} // nil would be NULL
		}
		args = append(args, seg.SessionID, seg.Epoch, seg.Seq, string(seg.Kind), seg.Part, seg.Parts, data, seg.Tag[:])
	}
	return args
}

func scanTag(row scanner) (seg Segment, err error) {
	var tag []byte
	if err := row.Scan(&seg.SessionID, &seg.Epoch, &seg.Seq, &tag); err != nil {
		return seg, err
	}
	seg.Tag, err = tagOf(tag)
	return seg, err
}

func tagOf(b []byte) (tag [32]byte, err error) {
	if len(b) != len(tag) {
		return tag, fmt.Errorf("tag of %d bytes in the database", len(b))
	}
	return [32]byte(b), nil
}

// repeat returns n comma-separated copies of part, for lists in statements.
func repeat(part string, n int) string {
	return strings.TrimSuffix(strings.Repeat(part+", ", n), ", ")
}
