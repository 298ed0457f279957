package sessionlog

import (
	"fmt"
	"math"
	"slices"

	"cloudsession/shared/cloudstore"
	"cloudsession/shared/envelope"
)

// MaxSalts is how many salts one log may have: the session's, and that of an
// identity before it. It bounds how often a reader can be made to derive keys.
const MaxSalts = 2

// row is a data row of the lineage in its place.
type row struct {
	seg     *cloudstore.Segment
	epoch   *EpochRows
	prev    [32]byte // tag of the data row before it
	orphan  bool     // that row is absent, so prev isn't known
	isFirst bool     // nothing was ever before it
}

// startsBase goes by the envelope, not by the column kind: hiding a base must
// not send a reader back to an older one unnoticed.
func (r row) startsBase() bool {
	kind, err := envelope.KindOf(r.seg.Data)
	return err == nil && kind == envelope.KindBase && r.seg.Part == 1
}

// log is a lineage's data rows in one line.
type log struct {
	keys      *envelope.Keyring
	sessionID string
	rows      []row
	seals     []row  // seals that end an epoch, to be verified with the rows
	stray     uint64 // newest epoch, if parts of its unfinished push stand behind a gap
	missing   error  // rows at the end that the newest epoch relies on are absent
	result    Result
}

// newLog puts the rows into line.
func newLog(keys *envelope.Keyring, sessionID string, lineage []EpochRows) (*log, error) {
	l := &log{keys: keys, sessionID: sessionID}
	for i := range lineage {
		e := &lineage[i]
		if i > 0 && (e.ParentEpoch != lineage[i-1].Epoch || e.Epoch <= e.ParentEpoch) {
			return nil, fmt.Errorf("session %q: epoch %d follows epoch %d, not %d: %w",
				sessionID, e.Epoch, e.ParentEpoch, lineage[i-1].Epoch, ErrMissing)
		}
		limit, newest := uint64(math.MaxUint64), i == len(lineage)-1
		if !newest {
			limit = lineage[i+1].ParentSeq
		}
		if err := l.addEpoch(e, limit, newest); err != nil {
			return nil, err
		}
	}
	if n := len(l.rows); n > 0 {
		l.result.Last = cursor(l.rows[n-1].seg)
	}
	return l, nil
}

// addEpoch appends an epoch's data rows up to limit.
func (l *log) addEpoch(e *EpochRows, limit uint64, newest bool) error {
	end := uint64(0) // seq of the last data row that was added
	for i := range e.Segments {
		seg := &e.Segments[i]
		if err := l.checkPlace(e, i); err != nil {
			return err
		}
		if seg.Seq > limit {
			l.addSeal(e, seg, limit, newest)
			break
		}
		if seg.Kind.IsTerminator() {
			if !newest {
				return at(seg, fmt.Errorf("%w: the log ends here with a %s, but the next epoch follows seq %d", ErrMissing, seg.Kind, limit))
			}
			if seg.Kind == cloudstore.KindDeleted {
				l.rows, l.seals, l.missing = nil, nil, nil // what is left of it counts no more
				return nil
			}
			if seg.Seq != end+1 {
				return at(seg, fmt.Errorf("%w between seq %d and the %s", ErrMissing, end, seg.Kind))
			}
			l.addSeal(e, seg, seg.Seq-1, newest)
			break
		}
		if newest && seg.Seq != end+1 && leftover(e.Segments[i:], end+1) {
			l.stray = e.Epoch
			break
		}
		l.addRow(e, seg, end)
		end = seg.Seq
	}
	if end > 0 {
		l.missing = nil
	}
	if !newest && end != limit {
		l.missing = fmt.Errorf("session %q, epoch %d: %w: seq %d to %d", l.sessionID, e.Epoch, ErrMissing, end+1, limit)
	}
	return nil
}

// checkPlace checks that segment i of e is this session's and follows the one
// before it.
func (l *log) checkPlace(e *EpochRows, i int) error {
	seg := &e.Segments[i]
	switch {
	case seg.SessionID != l.sessionID:
		return at(seg, fmt.Errorf("%w: found in the log of session %q", ErrSwapped, l.sessionID))
	case seg.Epoch != e.Epoch:
		return at(seg, fmt.Errorf("%w: found in epoch %d", ErrReordered, e.Epoch))
	case seg.Seq == 0:
		return at(seg, fmt.Errorf("%w: seq counts from 1", ErrTampered))
	case i > 0 && seg.Seq == e.Segments[i-1].Seq:
		return at(seg, ErrRepeated)
	case i > 0 && seg.Seq < e.Segments[i-1].Seq:
		return at(seg, fmt.Errorf("%w: found behind seq %d", ErrReordered, e.Segments[i-1].Seq))
	}
	return nil
}

// addRow appends a data row; end is the seq of the one added before it in this
// epoch, 0 for none.
func (l *log) addRow(e *EpochRows, seg *cloudstore.Segment, end uint64) {
	r := row{seg: seg, epoch: e, orphan: true}
	switch {
	case seg.Seq > 1:
		if end == seg.Seq-1 {
			r.prev, r.orphan = l.rows[len(l.rows)-1].seg.Tag, false
		}
	case e.ParentEpoch == 0:
		r.orphan, r.isFirst = false, true
	case l.missing == nil && len(l.rows) > 0:
		r.prev, r.orphan = l.rows[len(l.rows)-1].seg.Tag, false
	}
	l.rows = append(l.rows, r)
}

// addSeal keeps seg if it is the seal that ends e behind the data row at seq n.
func (l *log) addSeal(e *EpochRows, seg *cloudstore.Segment, n uint64, newest bool) {
	if seg.Kind != cloudstore.KindSeal || seg.Seq != n+1 {
		return
	}
	r := row{seg: seg, epoch: e, isFirst: e.ParentEpoch == 0, orphan: e.ParentEpoch != 0}
	if last := len(l.rows) - 1; n > 0 {
		r.orphan = last < 0 || l.rows[last].seg.Epoch != e.Epoch || l.rows[last].seg.Seq != n
	} else if last >= 0 && e.ParentEpoch != 0 {
		r.orphan = l.missing != nil
	}
	if !r.orphan {
		if last := len(l.rows) - 1; last >= 0 && (n > 0 || e.ParentEpoch != 0) {
			r.prev = l.rows[last].seg.Tag
		}
		l.seals = append(l.seals, r)
		l.result.Sealed = newest
	}
}

// leftover reports whether the rows behind the gap that starts at seq missing
// are what one unfinished push left: a writer has one push under way at most,
// and its parts may arrive in any order.
func leftover(rest []cloudstore.Segment, missing uint64) bool {
	parts, first := rest[0].Parts, rest[0].Seq-uint64(rest[0].Part)+1
	for i := range rest {
		s := &rest[i]
		if i > 0 && s.Seq <= rest[i-1].Seq {
			return false
		}
		if !s.Kind.IsData() || s.Parts != parts || s.Part == 0 || s.Seq-uint64(s.Part)+1 != first {
			return false
		}
	}
	return first <= missing && first+uint64(parts) > rest[len(rest)-1].Seq
}

// check checks, without any key, the rows from start on. It refuses a log with
// more than two salts before any key is derived.
func (l *log) check(start int) error {
	salts := map[envelope.Salt]bool{}
	for _, r := range l.rows[start:] {
		if err := checkColumns(r.seg); err != nil {
			return err
		}
		salt, err := envelope.SaltOf(r.seg.Data)
		if err != nil {
			return at(r.seg, named(err))
		}
		salts[salt] = true
		l.result.Salt, l.result.Salts = salt, len(salts)
		if len(salts) > MaxSalts {
			return at(r.seg, ErrTwoSalts)
		}
	}
	return nil
}

// lastBase returns the index of the first row of the last complete base.
func (l *log) lastBase() (int, bool) {
	for i, r := range slices.Backward(l.rows) {
		if r.startsBase() && l.complete(i) {
			return i, true
		}
	}
	return 0, false
}

// complete reports whether all parts of the push that starts at row i are
// there.
func (l *log) complete(i int) bool {
	first := l.rows[i].seg
	if int(first.Parts) > len(l.rows)-i {
		return false
	}
	for k := range int(first.Parts) {
		seg := l.rows[i+k].seg
		if seg.Epoch != first.Epoch || seg.Kind != first.Kind || int(seg.Part) != k+1 || seg.Parts != first.Parts {
			return false
		}
		if k > 0 && l.rows[i+k].orphan {
			return false
		}
	}
	return first.Parts > 0
}

// firstVerifiable returns the index of the first row whose place in the chain is
// known: the log's first row ever, or the first part of a base.
func (l *log) firstVerifiable() int {
	for i, r := range l.rows {
		if r.isFirst || r.startsBase() {
			return i
		}
	}
	return len(l.rows)
}
