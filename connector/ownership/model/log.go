package model

import (
	"errors"
	"slices"
)

// logEnd is where an epoch's log ends, as cloudstore.findEnd tells it.
type logEnd struct {
	last       uint8 // last data row of the unbroken run
	tag        Tag
	terminator uint8 // seq of what ends it, 0 for nothing
	deleted    bool
	mark       uint8
	contiguous bool
	damaged    bool // rows are missing that were durable once
	max        uint8
}

// findEnd mirrors lockLogHeads and findEnd of shared/cloudstore/parent.go.
func (c *Cloud) findEnd(epoch uint8) logEnd {
	rows := &c.Rows[epoch]
	from := uint8(1)
	for seq := uint8(1); seq < maxSeq; seq++ {
		if rows[seq].Kind == KindBase && rows[seq].Part == 1 {
			from = seq
		}
	}
	end := logEnd{contiguous: true}
	before := uint8(0) // the seq of the row before this one
	for seq := from; seq < maxSeq; seq++ {
		row := rows[seq]
		if row.Kind == KindNone {
			continue
		}
		end.max = seq
		if row.Kind == KindDeleted {
			end.deleted, end.mark = true, seq
		}
		first := before == 0 && (seq == 1 || row.Kind == KindBase)
		next := before != 0 && seq == before+1
		gap := end.terminator == 0 && (!end.contiguous || !first && !next)
		if gap && (row.Kind == KindSeal || row.Kind.isData() && row.Part == 1) {
			end.damaged = true
		}
		switch {
		case !end.contiguous:
		case end.terminator != 0 || !first && !next:
			end.contiguous = false
		case row.Kind.isTerminator():
			end.terminator = seq
		default:
			end.last, end.tag = seq, row.Tag
		}
		before = seq
	}
	return end
}

// parent is what a take finds: cloudstore.Parent and parentView.
type parent struct {
	owner          Owner
	start          Start
	lastSeq        uint8
	lastTag        Tag
	terminator     uint8 // its seq, 0 for none
	seal           Row   // the row there
	contiguous     bool
	damaged        bool
	hasLog         bool
	maxSeq         uint8  // highest seq of any row of the epoch
	before         Cursor // the epoch's own parent
	hasCredentials bool
	last           Cursor // last data row of the lineage
}

// readParent mirrors readParent and readInheritedTag of
// shared/cloudstore/parent.go.
func (c *Cloud) readParent() parent {
	o := c.Owner.Epoch
	p := parent{owner: c.Owner, start: c.Epochs[o].Start, hasCredentials: c.Credentials}
	end := c.findEnd(o)
	if end.deleted {
		end = logEnd{terminator: end.mark, deleted: true}
	}
	p.lastSeq, p.lastTag, p.contiguous, p.terminator = end.last, end.tag, end.contiguous, end.terminator
	p.damaged, p.maxSeq, p.before = end.damaged, end.max, c.Epochs[o].Parent
	if end.terminator != 0 {
		p.seal = c.Rows[o][end.terminator]
	}
	if end.deleted {
		return p
	}
	p.last = Cursor{Epoch: o, Seq: p.lastSeq, Tag: p.lastTag}
	if p.lastSeq == 0 {
		p.last = c.Epochs[o].Parent
		p.last.Tag = 0
		if p.last.Seq != 0 {
			if row := c.Rows[p.last.Epoch][p.last.Seq]; row.Kind == KindNone {
				p.contiguous = false
			} else {
				p.lastTag, p.last.Tag = row.Tag, row.Tag
			}
		}
	}
	p.hasLog = p.last.Seq != 0
	return p
}

// What a restore may say instead of a state.
var (
	errNothing = errors.New("neither log nor credentials")
	errMissing = errors.New("rows of the log are missing")
	errNoBase  = errors.New("the log has no complete base")
	errChain   = errors.New("a row was written behind another row than the one before it")
	errTorn    = errors.New("a push has parts that don't belong together")
)

// restored is what a restore found, and what the checker wants to know of it.
type restored struct {
	content         Content
	credentialsOnly bool
	late            bool  // a row was read that landed when its epoch was over
	oldest          uint8 // lowest epoch of a row that was read
}

// place is a row of a lineage.
type place struct {
	epoch, seq uint8
	row        Row
}

// lineage collects the rows that count, oldest first, back to the last complete
// base: walk and fetch of connector/replicate.
func (c *Cloud) lineage(end Cursor, rules *Rules) (rows []place, base int, deltas bool) {
	base = -1
	for epoch, limit := end.Epoch, end.Seq; epoch != 0; epoch, limit = c.Epochs[epoch].Parent.Epoch, c.Epochs[epoch].Parent.Seq {
		if rules.ReadToTheEnd {
			limit = maxSeq
		}
		var here []place
		for seq := uint8(1); seq < maxSeq && seq <= limit; seq++ {
			row := c.Rows[epoch][seq]
			if row.Kind.isTerminator() {
				break
			}
			if row.Kind != KindNone {
				here = append(here, place{epoch, seq, row})
				deltas = deltas || row.Kind == KindDelta
			}
		}
		pruned := len(here) == 0 && limit > 0 || len(here) > 0 && here[0].seq > 1
		rows = append(here, rows...)
		for i := range slices.Backward(here) {
			if here[i].row.Kind == KindBase && here[i].row.Part == 1 && wholePush(here[i:]) {
				return rows[i:], 0, deltas
			}
		}
		if pruned {
			break
		}
	}
	return rows, base, deltas
}

// wholePush mirrors wholePush of connector/replicate/prune.go.
func wholePush(rows []place) bool {
	first := rows[0].row
	if len(rows) < int(first.Parts) {
		return false
	}
	for i, p := range rows[:first.Parts] {
		if p.row.Kind != first.Kind || p.seq != rows[0].seq+uint8(i) || int(p.row.Part) != i+1 || p.row.Parts != first.Parts {
			return false
		}
	}
	return true
}

// restore reads the state at end, as replicate.Restore and sessionlog.Read do
// (L1, L3): every row verified against the one before it, pushes applied wholly
// or not at all, the end exactly where the take found it.
func (c *Cloud) restore(end Cursor, rules *Rules) (restored, error) {
	rows, base, deltas := c.lineage(end, rules)
	switch {
	case base < 0 && deltas:
		return restored{}, errNoBase
	case base < 0 && !c.Credentials:
		return restored{}, errNothing
	case base < 0:
		return restored{credentialsOnly: true}, nil
	}
	if last := rows[len(rows)-1]; !rules.ReadToTheEnd && (last.epoch != end.Epoch || last.seq != end.Seq || last.row.Tag != end.Tag) {
		return restored{}, errMissing
	}
	found := restored{oldest: rows[0].epoch}
	part := uint8(0) // parts collected of the push being read
	for i, p := range rows {
		row := p.row
		found.late = found.late || row.Late
		if i > 0 {
			if err := c.checkChain(rows[i-1], p); err != nil {
				return restored{}, err
			}
			if rows[i-1].epoch != p.epoch {
				part = 0 // cut off by the end of its epoch
			}
		}
		if p.seq == 1 && row.Kind == KindDelta && needsBase(c.Epochs[p.epoch].Start, rules) {
			return restored{}, errNoBase
		}
		if row.Part != part+1 || part > 0 && (rows[i-1].row.Kind != row.Kind || rows[i-1].row.Parts != row.Parts) {
			return restored{}, errTorn
		}
		if part = row.Part; part < row.Parts {
			continue
		}
		part = 0
		found.content.apply(row)
	}
	return found, nil
}

// needsBase mirrors pending.add of shared/sessionlog/walk.go.
func needsBase(s Start, rules *Rules) bool {
	return (s.isSafe() && !rules.NoBaseAfterSafe) || s == StartNew
}

// checkChain verifies that b was written behind a.
func (c *Cloud) checkChain(a, b place) error {
	switch {
	case a.epoch == b.epoch && b.seq != a.seq+1, a.epoch != b.epoch && b.seq != 1:
		return errMissing
	case b.row.Prev != a.row.Tag:
		return errChain
	}
	return nil
}

// apply replays a complete push. A base is the whole state; a delta replaces
// the records it names: the ratchets are one, each fact is another.
func (c *Content) apply(row Row) {
	if row.Kind == KindBase {
		c.Facts = 0
	}
	c.Facts |= row.Facts
	c.Lineage, c.Counter = row.Lineage, row.Counter
}
