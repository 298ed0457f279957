package replicate

import (
	"context"
	"fmt"
	"slices"

	"cloudsession/shared/cloudstore"
	"cloudsession/shared/sessionlog"
)

// fetchedEpoch is an epoch of the lineage with those of its rows that a restore reads.
type fetchedEpoch struct {
	lineageEpoch
	rows []cloudstore.Segment // with data: from the base on, and what stands beyond the limit
}

// fetch reads the lineage from its last complete base on, oldest epoch first: first the heads, to find
// that base, then the data. It returns nil if there is nothing to start from: no rows at all, or only
// parts of a first base that never became whole. Rows that are missing are an error also when nothing
// else is left (L1).
func (r *restorer) fetch(ctx context.Context, parent sessionlog.Cursor) ([]fetchedEpoch, error) {
	var epochs []fetchedEpoch
	from, deltas, missing := uint64(0), false, false
	err := walk(ctx, r.store, r.sessionID, parent.Epoch, parent.Seq, func(e lineageEpoch) bool {
		epochs = append(epochs, fetchedEpoch{lineageEpoch: e})
		if bases := e.completeBases(); len(bases) > 0 {
			from = e.heads[bases[len(bases)-1]].Seq
			return false
		}
		deltas = deltas || slices.ContainsFunc(e.heads, func(h cloudstore.Segment) bool { return h.Kind == cloudstore.KindDelta })
		missing = missing || uint64(len(e.heads)) != e.limit // a whole log has every seq from 1 on
		return true
	})
	switch {
	case err != nil:
		return nil, err
	case from == 0 && deltas:
		return nil, fmt.Errorf("lineage of epoch %d: %w", parent.Epoch, sessionlog.ErrNoBase)
	case from == 0 && missing:
		return nil, fmt.Errorf("lineage of epoch %d: %w", parent.Epoch, sessionlog.ErrMissing)
	case from == 0:
		return nil, nil
	}
	slices.Reverse(epochs)
	for i := range epochs {
		if err := r.fetchRows(ctx, &epochs[i], from); err != nil {
			return nil, err
		}
		from = 1
	}
	return epochs, nil
}

// Bounds of one read: rows, and bytes as far as the heads let guess them.
const (
	fetchRows  = 2000
	fetchBytes = 8 << 20
)

// fetchRows reads an epoch's rows from seq from on, in pieces that fit the database's limits.
func (r *restorer) fetchRows(ctx context.Context, e *fetchedEpoch, from uint64) error {
	todo := e.all
	for len(todo) > 0 && todo[0].Seq < from {
		todo = todo[1:]
	}
	for len(todo) > 0 {
		n := chunk(todo)
		rows, err := r.store.Segments(ctx, r.sessionID, e.Epoch.Epoch, todo[0].Seq, todo[n-1].Seq)
		if err != nil {
			return fmt.Errorf("read rows of epoch %d: %w", e.Epoch.Epoch, err)
		}
		e.rows = append(e.rows, rows...)
		todo = todo[n:]
	}
	return nil
}

// chunk returns how many rows to read at once. Parts of a bigger push are full but for the last; a push
// of one part is mostly small.
func chunk(heads []cloudstore.Segment) int {
	bytes := 0
	for i, h := range heads[:min(len(heads), fetchRows)] {
		switch {
		case h.Parts > 1:
			bytes += cloudstore.MaxSegmentBytes
		case h.Kind == cloudstore.KindBase:
			bytes += cloudstore.MaxSegmentBytes / 4
		default:
			bytes += fetchBytes / fetchRows
		}
		if bytes > fetchBytes {
			return max(i, 1)
		}
	}
	return min(len(heads), fetchRows)
}

func rowsOf(lineage []fetchedEpoch) []sessionlog.EpochRows {
	rows := make([]sessionlog.EpochRows, 0, len(lineage)+1)
	for _, e := range lineage {
		rows = append(rows, sessionlog.EpochRows{
			Epoch: e.Epoch.Epoch, ParentEpoch: e.ParentEpoch, ParentSeq: e.ParentSeq, Start: e.Start, Segments: e.rows,
		})
	}
	return rows
}

// weigh sums the sealed bytes of the base that the rows begin with, and of the deltas behind it.
func weigh(lineage []fetchedEpoch) (base, deltas int64) {
	for i, e := range lineage {
		for j, row := range e.rows {
			switch {
			case row.Seq > e.limit || !row.Kind.IsData():
			case i == 0 && row.Kind == cloudstore.KindBase && j < int(e.rows[0].Parts):
				base += int64(len(row.Data))
			default:
				deltas += int64(len(row.Data))
			}
		}
	}
	return base, deltas
}
