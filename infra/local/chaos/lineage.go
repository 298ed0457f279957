package chaos

import (
	"context"
	"fmt"
	"math"
	"slices"

	"cloudsession/connector/replicate"
)

// counted is what of a session's log a restore goes by.
type counted struct {
	pushes     int    // from the last whole base on
	epoch, seq uint64 // the last row
}

// piece is a row of a log, without what is in it.
type piece struct {
	kind             string
	seq, part, parts uint64
}

// countRows walks back through a session's terms by its epoch rows, and says which
// rows count: of each term those up to where its child goes on, none behind. It
// reads the tables without the product's readers, so that a mistake of theirs is
// not made here too.
func (h *Harness) countRows(ctx context.Context, session string, epoch uint64) (counted, error) {
	var c counted
	for upTo := uint64(math.MaxInt64); epoch > 0; {
		rows, err := h.pieces(ctx, session, epoch, upTo)
		if err != nil {
			return counted{}, err
		}
		if c.seq == 0 && len(rows) > 0 {
			c.epoch, c.seq = epoch, rows[len(rows)-1].seq
		}
		pushes, based := countPushes(rows)
		if c.pushes += pushes; based {
			return c, nil
		}
		const parent = `SELECT parent_epoch, parent_seq FROM session_epochs WHERE session_id = ? AND epoch = ?`
		if err := h.db.QueryRowContext(ctx, parent, session, epoch).Scan(&epoch, &upTo); err != nil {
			return counted{}, fmt.Errorf("read parent of a term of %s: %w", session, err)
		}
	}
	return counted{}, fmt.Errorf("count rows of %s: no whole base in its log", session)
}

// pieces lists the data rows of a term up to a seq that stand one behind the other.
func (h *Harness) pieces(ctx context.Context, session string, epoch, upTo uint64) ([]piece, error) {
	const query = `SELECT kind, seq, part, parts FROM session_segments
		WHERE session_id = ? AND epoch = ? AND seq <= ? ORDER BY seq`
	rows, err := h.db.QueryContext(ctx, query, session, epoch, upTo)
	if err != nil {
		return nil, fmt.Errorf("read rows of %s: %w", session, err)
	}
	defer rows.Close() //nolint:errcheck // rows.Err below reports what matters
	var list []piece
	for rows.Next() {
		var p piece
		if err := rows.Scan(&p.kind, &p.seq, &p.part, &p.parts); err != nil {
			return nil, fmt.Errorf("read rows of %s: %w", session, err)
		}
		if p.kind != "base" && p.kind != "delta" || len(list) > 0 && p.seq != list[len(list)-1].seq+1 {
			break
		}
		list = append(list, p)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read rows of %s: %w", session, err)
	}
	return list, nil
}

// countPushes counts the whole pushes from the last whole base on, or all if there
// is no base.
func countPushes(rows []piece) (n int, based bool) {
	for i, p := range slices.Backward(rows) {
		if p.part != p.parts || uint64(i+1) < p.parts || rows[uint64(i+1)-p.parts].part != 1 {
			continue // not the last part of a whole push
		}
		n++
		if p.kind == "base" {
			return n, true
		}
	}
	return n, false
}

// agrees says how what a restore used differs from the rows that count, "" if it
// does not.
func (c counted) agrees(used replicate.Restored) string {
	if used.Pushes == c.pushes && used.Cursor.Epoch == c.epoch && used.Cursor.Seq == c.seq {
		return ""
	}
	return fmt.Sprintf("the restore used %d pushes up to %d/%d, and %d pushes up to %d/%d count",
		used.Pushes, used.Cursor.Epoch, used.Cursor.Seq, c.pushes, c.epoch, c.seq)
}
