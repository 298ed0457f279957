package model

// pushSteps are the steps of replicate.Session: one push at a time (P2).
func (m *machine) pushSteps(s *State, p int, emit emitter) {
	t := &s.Procs[p].Term
	switch {
	case t.Phase != Ready && t.Phase != Open && t.Phase != Closing:
	case t.Push.Parts == 0 && !t.Fenced && !t.Off:
		m.startPush(s, p, emit)
	case t.Push.Parts != 0 && t.Durable:
		m.acknowledge(s, p, emit)
	case t.Push.Parts != 0 && !t.Fenced:
		m.outcome(s, p, emit)
	}
}

// startPush reads what is dirty, notes in the file what will be in flight, and
// sends it: Session.startPush and send of connector/replicate/push.go (P1, P3).
// A crash between the note and the sending is the same as a statement that
// never lands.
func (m *machine) startPush(s *State, p int, emit emitter) {
	f := s.file(p)
	if f.NeedBase {
		m.sendPush(s, p, true, OpPush, emit)
		return
	}
	if f.Dirty != 0 {
		m.sendPush(s, p, false, OpPush, emit)
	}
	if s.Left.Compactions > 0 && s.Procs[p].Term.Phase == Open {
		next := m.with(s)
		next.Left.Compactions--
		m.sendPush(next, p, true, OpPushBase, emit) // L2
	}
}

func (m *machine) sendPush(s *State, p int, base bool, op Op, emit emitter) {
	t := &s.Procs[p].Term
	parts := m.bounds.DeltaParts
	if base {
		parts = m.bounds.BaseParts
	}
	seq := t.Cursor.Seq + 1
	if seq+parts > m.bounds.Seqs { // a place is kept for the terminator
		return
	}
	next := m.with(s)
	f := next.file(p)
	push := Push{Parts: parts, Seq: seq, Base: base, Mark: f.Dirty, Content: f.Content}
	push.Guarded = base && !t.BasePushed // P7: the credentials go with the last part
	for i := range parts {
		push.Tags[i] = next.freshTag()
	}
	f.InFlight = push
	f.InFlight.Content = Content{}
	nt := &next.Procs[p].Term
	nt.Push, nt.Sent, nt.Known, nt.Durable, nt.Answered = push, 0, 0, false, false
	together := *next
	next.sendParts(p, 1)
	emit(Step{op, int8(p), 1}, next)
	if parts > 1 && !push.Guarded {
		together.sendParts(p, parts)
		emit(Step{op, int8(p), int8(parts)}, &together)
	}
}

// sendParts sends the next n parts in one statement. With several sessions'
// rows in one INSERT (P4) each session's fare as if alone.
func (s *State) sendParts(p int, n uint8) {
	t := &s.Procs[p].Term
	st := Statement{Epoch: t.Epoch, Seq: t.Push.Seq + t.Sent, N: n}
	for i := range n {
		st.Rows[i] = t.row(t.Sent + i)
	}
	t.Sent += n
	st.Guarded = t.Push.Guarded && t.Sent == t.Push.Parts
	s.send(st)
}

// row is part i of the push under way, as sessionlog.Seal makes it.
func (t *Term) row(i uint8) Row {
	row := Row{Kind: KindDelta, Part: i + 1, Parts: t.Push.Parts, Tag: t.Push.Tags[i], Prev: t.Cursor.Tag, Content: t.Push.Content}
	if t.Push.Base {
		row.Kind = KindBase
	} else {
		row.Facts = t.Push.Mark
	}
	if i > 0 {
		row.Prev = t.Push.Tags[i-1]
	}
	return row
}

// outcome learns what became of the rows sent: by the statement's own answer, or
// by reading the tags back (P4; AppendSegments of shared/cloudstore/append.go).
// Absent rows are sent again, which changes nothing here: they are in the air.
func (m *machine) outcome(s *State, p int, emit emitter) {
	t := &s.Procs[p].Term
	if t.Answered {
		next := m.with(s)
		m.partsDurable(next, p)
		emit(Step{OpAnswer, int8(p), 0}, next)
	}
	if m.rules.IgnoreDuplicates {
		return
	}
	guarded := t.Push.Guarded && t.Sent == t.Push.Parts
	durable, fenced := s.Cloud.readBack(t)
	if guarded && (s.Cloud.Owner.Epoch != t.Epoch || s.Cloud.Owner.Off) { // lockOwnEpoch, before anything is read
		durable, fenced = false, true
	}
	next := m.with(s)
	switch {
	case fenced:
		next.Procs[p].Term.Fenced = true
		emit(Step{OpReadBack, int8(p), 1}, next)
	case durable && !t.Answered:
		m.partsDurable(next, p)
		emit(Step{OpReadBack, int8(p), 0}, next)
	case !durable && m.rules.RetryOtherBytes && !guarded:
		m.retryOtherBytes(s, p, emit)
	}
}

// readBack compares what stands with what was sent, and isn't known durable yet.
func (c *Cloud) readBack(t *Term) (durable, fenced bool) {
	durable = true
	for i := t.Known; i < t.Sent; i++ {
		stands := c.Rows[t.Epoch][t.Push.Seq+i]
		switch {
		case stands.Kind == KindNone:
			durable = false
		case stands.Tag != t.Push.Tags[i]:
			return false, true
		}
	}
	return durable, false
}

// partsDurable goes on once the rows sent are durable: with the next part, or
// with what follows from a durable push (becameDurable of
// connector/replicate/push.go). Who waits is answered before the file learns it.
func (m *machine) partsDurable(s *State, p int) {
	t := &s.Procs[p].Term
	t.Known, t.Answered = t.Sent, false
	if t.Known < t.Push.Parts {
		s.sendParts(p, 1)
		return
	}
	t.Durable = true
	t.Cursor = t.Push.last(t.Epoch)
	t.BasePushed = t.BasePushed || t.Push.Base
	if t.Epoch > s.Ghost.DeletedTo {
		s.Ghost.Acked |= t.Push.Content.Facts
	}
}

// acknowledge is Acknowledge of connector/capture/state.go (C3).
func (m *machine) acknowledge(s *State, p int, emit emitter) {
	next := m.with(s)
	t := &next.Procs[p].Term
	next.file(p).acknowledge(t.Epoch, t.Push)
	t.Push, t.Sent, t.Known, t.Durable = Push{}, 0, 0, false
	emit(Step{OpAcknowledge, int8(p), 0}, next)
}

func (f *File) acknowledge(epoch uint8, push Push) {
	f.Acked = push.last(epoch)
	f.Dirty &^= push.Mark
	f.NeedBase = f.NeedBase && !push.Base
	f.InFlight = Push{}
}

// retryOtherBytes is a mutation: rows that are absent are encoded anew, from the
// file as it is now.
func (m *machine) retryOtherBytes(s *State, p int, emit emitter) {
	if s.Left.Faults == 0 {
		return
	}
	next := m.with(s)
	next.Left.Faults--
	t, f := &next.Procs[p].Term, next.file(p)
	for i := t.Known; i < t.Sent; i++ {
		t.Push.Tags[i] = next.freshTag()
	}
	t.Push.Content, t.Push.Mark = f.Content, f.Dirty
	f.InFlight.Tags, f.InFlight.Mark = t.Push.Tags, f.Dirty
	n := t.Sent - t.Known
	t.Sent = t.Known
	next.sendParts(p, n)
	emit(Step{OpPush, int8(p), int8(n)}, next)
}
