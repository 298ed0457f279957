package cloudstore

import (
	"context"
	"fmt"
)

const (
	selectSegments = `SELECT session_id, epoch, seq, kind, part, parts, data, tag, created_at
		FROM session_segments WHERE session_id = ? AND epoch = ? AND seq BETWEEN ? AND ?
		ORDER BY seq LIMIT ?`
	selectHeads = `SELECT session_id, epoch, seq, kind, part, parts, tag, created_at
		FROM session_segments WHERE session_id = ? AND epoch = ? AND seq BETWEEN ? AND ?
		ORDER BY seq LIMIT ?`
)

// Rows a page: bounded by what one statement may hold in the server's memory.
const (
	segmentsPage = 64
	headsPage    = 4096
)

// Segments returns the rows fromSeq..toSeq (inclusive; math.MaxUint64 for all)
// of one epoch in order, whatever their kind. Rows behind a terminator don't
// belong to the log; L1 says how to read it.
func (s *Store) Segments(ctx context.Context, sessionID string, epoch, fromSeq, toSeq uint64) ([]Segment, error) {
	return s.readSegments(ctx, scanSegment, selectSegments, segmentsPage, sessionID, epoch, fromSeq, toSeq)
}

// SegmentHeads returns all rows of one epoch in order, without Data.
func (s *Store) SegmentHeads(ctx context.Context, sessionID string, epoch uint64) ([]Segment, error) {
	return s.readSegments(ctx, scanHead, selectHeads, headsPage, sessionID, epoch, 0, ^uint64(0))
}

func (s *Store) readSegments(ctx context.Context, scan func(scanner) (Segment, error), query string, page int, sessionID string, epoch, from, to uint64) ([]Segment, error) {
	if err := ValidateSessionID(sessionID); err != nil {
		return nil, err
	}
	var all []Segment
	for from <= to {
		var rows []Segment
		err := s.retry(ctx, func() (err error) {
			rows, err = collect(ctx, s.db, scan, query, sessionID, epoch, from, to, page)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("read segments of epoch %d: %w", epoch, err)
		}
		all = append(all, rows...)
		if len(rows) < page || rows[len(rows)-1].Seq == to {
			return all, nil
		}
		from = rows[len(rows)-1].Seq + 1
	}
	return all, nil
}

func scanSegment(row scanner) (seg Segment, err error) {
	var tag []byte
	err = row.Scan(&seg.SessionID, &seg.Epoch, &seg.Seq, &seg.Kind, &seg.Part, &seg.Parts, &seg.Data, &tag, &seg.CreatedAt)
	if err != nil {
		return seg, err
	}
	if len(seg.Data) == 0 {
		seg.Data = nil
	}
	seg.Tag, err = tagOf(tag)
	return seg, err
}

// scanHead is scanSegment without data.
func scanHead(row scanner) (seg Segment, err error) {
	var tag []byte
	if err := row.Scan(&seg.SessionID, &seg.Epoch, &seg.Seq, &seg.Kind, &seg.Part, &seg.Parts, &tag, &seg.CreatedAt); err != nil {
		return seg, err
	}
	seg.Tag, err = tagOf(tag)
	return seg, err
}
