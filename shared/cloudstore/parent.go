package cloudstore

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
)

const (
	lockLastBase = `SELECT session_id, epoch, seq, tag FROM session_segments
		WHERE session_id = ? AND epoch = ? AND kind = 'base' AND part = 1 ORDER BY seq DESC LIMIT 1 FOR UPDATE`
	lockHeads = `SELECT session_id, epoch, seq, kind, part, parts, tag, created_at
		FROM session_segments WHERE session_id = ? AND epoch = ? AND seq >= ? ORDER BY seq FOR UPDATE`
	// Keep to plain columns, see lockAhead.
	lockPlaces = `SELECT session_id, epoch, seq, kind, part, parts, tag, created_at
		FROM session_segments WHERE (session_id, epoch, seq) IN (%s) FOR UPDATE`
	lockSegmentHead = `SELECT session_id, epoch, seq, kind, part, parts, tag, created_at
		FROM session_segments WHERE session_id = ? AND epoch = ? AND seq = ? FOR UPDATE`
	lockSegment = `SELECT session_id, epoch, seq, kind, part, parts, data, tag, created_at
		FROM session_segments WHERE session_id = ? AND epoch = ? AND seq = ? FOR UPDATE`
)

// parentView is a Parent with the position of the lineage's last data row.
type parentView struct {
	Parent
	lastEpoch, lastSeq uint64 // 0 and 0 where there is none
}

// readParent finds where the current epoch's log ends. All its reads lock, and
// so see the latest rows; only light columns are read but for the terminator.
// DESIGN.md says why the last row of the lineage is what it returns.
func readParent(ctx context.Context, tx *sql.Tx, v takeView) (parentView, error) {
	p := parentView{Parent: Parent{
		Owner: v.owner, Epoch: v.epoch, HasCredentials: v.hasRow, Credentials: v.credentials.data, Contiguous: true,
	}}
	if v.owner.Epoch == 0 {
		return p, nil
	}
	heads, err := lockLogHeads(ctx, tx, v.epoch)
	if err != nil {
		return p, fmt.Errorf("read log of epoch %d: %w", v.epoch.Epoch, err)
	}
	end := findEnd(heads)
	if end.deleted {
		// What is left of the rows says nothing; the mark is the terminator.
		end = logEnd{terminated: true, terminator: end.mark, deleted: true, max: end.max}
	}
	p.LastSeq, p.MaxSeq, p.Contiguous, p.Damaged, p.LastTag = end.last, end.max, end.contiguous, end.damaged, end.tag
	if end.terminated {
		row, err := one(ctx, tx, scanSegment, lockSegment, v.epoch.SessionID, v.epoch.Epoch, end.terminator)
		if err != nil {
			return p, fmt.Errorf("read terminator: %w", err)
		}
		p.Terminator = &row
	}
	if end.deleted {
		return p, nil // the log is gone, and so is every ancestor's
	}
	p.lastEpoch, p.lastSeq = v.epoch.Epoch, p.LastSeq
	if p.LastSeq == 0 {
		p.lastEpoch, p.lastSeq = v.epoch.ParentEpoch, v.epoch.ParentSeq
		if err := readInheritedTag(ctx, tx, &p); err != nil {
			return p, err
		}
	}
	p.HasLog = p.lastSeq != 0
	return p, nil
}

// readInheritedTag fills in LastTag for an epoch without data: that of the row
// it inherited as the lineage's last.
func readInheritedTag(ctx context.Context, tx *sql.Tx, p *parentView) error {
	if p.lastSeq == 0 {
		return nil
	}
	row, err := one(ctx, tx, scanTag, lockTag, p.Owner.SessionID, p.lastEpoch, p.lastSeq)
	if errors.Is(err, ErrNotFound) {
		p.Contiguous = false // damage: never exact; the reader will say what is missing
		return nil
	}
	if err != nil {
		return fmt.Errorf("read last row of the lineage: %w", err)
	}
	p.LastTag = row.Tag
	return nil
}

// lockLogHeads returns the epoch's rows from its last base on, or all of them.
func lockLogHeads(ctx context.Context, tx *sql.Tx, e Epoch) ([]Segment, error) {
	from := uint64(1)
	base, err := one(ctx, tx, scanTag, lockLastBase, e.SessionID, e.Epoch)
	switch {
	case err == nil:
		from = base.Seq
	case !errors.Is(err, ErrNotFound):
		return nil, err
	}
	heads, err := collect(ctx, tx, scanHead, lockHeads, e.SessionID, e.Epoch, from)
	if err != nil {
		return nil, err
	}
	return lockAhead(ctx, tx, e, heads)
}

// placesAhead is how many empty places behind a log are locked at once.
const placesAhead = 16

// lockAhead locks the places behind the log's end, so that a writer who is
// still at work waits, and adds the rows it wrote since heads were read. Then
// the end holds until the transaction does: without this, a busy writer would
// always be one row ahead of the fence. TiDB locks a key that doesn't exist when
// it reads it by point, which this statement's shape makes it do: whole primary
// keys in a list, plain columns, nothing else. Where it doesn't, the fence's
// insert fails and the take starts over.
func lockAhead(ctx context.Context, tx *sql.Tx, e Epoch, heads []Segment) ([]Segment, error) {
	for {
		end := findEnd(heads)
		if end.terminated || end.deleted || !end.contiguous {
			return heads, nil
		}
		args := make([]any, 0, 3*placesAhead)
		for i := range uint64(placesAhead) {
			args = append(args, e.SessionID, e.Epoch, end.last+1+i)
		}
		rows, err := collect(ctx, tx, scanHead, fmt.Sprintf(lockPlaces, repeat(oneRef, placesAhead)), args...)
		if err != nil || len(rows) == 0 {
			return heads, err
		}
		slices.SortFunc(rows, func(a, b Segment) int { return cmp.Compare(a.Seq, b.Seq) })
		heads = append(heads, rows...)
	}
}

// logEnd is where a log ends.
type logEnd struct {
	last       uint64 // last data row of the unbroken run
	tag        [32]byte
	terminated bool
	terminator uint64 // seq of what ends it
	deleted    bool
	mark       uint64 // seq of the last row that says so
	contiguous bool
	damaged    bool
	max        uint64
}

// findEnd walks the rows of an epoch from its last base, or from seq 1, on. A
// log that has lost its head to pruning starts with a base's first part; one
// that starts elsewhere has lost rows, and ends before it begins.
//
// Behind a gap there may be parts of the push that its writer didn't finish: it
// sends the next one, or the seal, only when all of the last is durable (P2). So
// where a push begins behind a gap, or a seal stands, rows were lost; and where
// there is no head, unless what is left are parts of the epoch's first push.
func findEnd(heads []Segment) logEnd {
	end := logEnd{contiguous: true}
	for i, row := range heads {
		end.max = row.Seq
		if row.Kind == KindDeleted {
			end.deleted, end.mark = true, row.Seq
		}
		first := i == 0 && (row.Seq == 1 || row.Kind == KindBase && row.Part == 1)
		next := i > 0 && row.Seq == heads[i-1].Seq+1
		gap := !end.terminated && (!end.contiguous || !first && !next)
		headless := i == 0 && row.Seq-uint64(row.Part)+1 > 1
		if gap && (row.Kind == KindSeal || row.Kind.IsData() && (row.Part == 1 || headless)) {
			end.damaged = true
		}
		switch {
		case !end.contiguous:
		case end.terminated || !first && !next:
			end.contiguous = false
		case row.Kind.IsTerminator():
			end.terminated, end.terminator = true, row.Seq
		default:
			end.last, end.tag = row.Seq, row.Tag
		}
	}
	return end
}
