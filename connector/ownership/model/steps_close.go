package model

// closeSteps end a term (connector/manager/close.go, watch.go, manager.go).
func (m *machine) closeSteps(s *State, p int, emit emitter) {
	proc := &s.Procs[p]
	switch t := &proc.Term; t.Phase {
	case Open:
		m.close(s, p, emit)
		m.prune(s, p, emit)
	case Closing:
		m.seal(s, p, emit)
		m.closeFails(s, p, emit)
	case Sealing:
		m.sealOutcome(s, p, emit)
		m.closeFails(s, p, emit)
	case Releasing:
		m.release(s, p, emit)
	default:
	}
	if proc.Term.Fenced {
		m.settle(s, p, emit)
	}
	if !proc.Current {
		next := m.with(s)
		next.stopProcess(p)
		emit(Step{OpAbandon, int8(p), 0}, next) // O1: zero rows renewed. Manager.Abandon leaves the files
	}
}

// deletedOnly mirrors Manager.deleted: the owner row says that this term's copy
// was deleted.
func (m *machine) deletedOnly(s *State, p int) bool {
	o := s.Cloud.Owner
	return o.Epoch == s.Procs[p].Term.Epoch && o.Conn == m.conn(p) && o.Off
}

// stillOurs reports whether a term whose log refused a row keeps its file: its
// copy was deleted, or the later epoch is this connector's own, taken for a new
// backup by a commit whose answer was lost.
func (m *machine) stillOurs(s *State, p int) bool {
	o := s.Cloud.Owner
	own := o.Conn == m.conn(p) && o.Epoch > s.Procs[p].Term.Epoch && !m.rules.OwnTakeIsLoss
	return m.deletedOnly(s, p) || own
}

// settle finds out why the log refused a row: Manager.fenced of watch.go,
// settleFenced of close.go, and for a term that isn't open yet giveBack.
func (m *machine) settle(s *State, p int, emit emitter) {
	if s.answeredAgain(p) {
		return // backUpAgain holds the session's lock
	}
	next := m.with(s)
	proc := &next.Procs[p]
	t := &proc.Term
	switch ours := m.stillOurs(s, p); {
	case t.Phase == Ready:
		proc.Work = File{}
		*t = Term{Phase: Releasing, Epoch: t.Epoch, InPlace: true}
	case t.Phase == Open && ours:
		t.Off, t.Fenced = true, false // O10: the session goes on locally
		t.Push, t.Sent, t.Known, t.Answered = Push{}, 0, 0, false
	case ours:
		*t = Term{} // closed; the file stays and the row stays ours
	default:
		m.setAside(next, p)
	}
	emit(Step{OpSettle, int8(p), 0}, next)
}

// setAside is loseLocked: nothing is pushed, the file is never used again. That
// must not happen to the only copy of a session that is still this connector's.
func (m *machine) setAside(s *State, p int) {
	if !s.Cloud.Credentials && s.Cloud.Owner.Conn == m.conn(p) {
		m.breaks(s, RestorableAlways)
	}
	s.Procs[p].File, s.Procs[p].Work, s.Procs[p].Term = File{}, File{}, Term{}
}

// close begins closeLocked (O6): the socket and the handlers are ended, the file
// reopened. One that isn't in the cloud is only closed.
func (m *machine) close(s *State, p int, emit emitter) {
	if s.answeredAgain(p) {
		return // backUpAgain holds the session's lock
	}
	t := &s.Procs[p].Term
	next := m.with(s)
	nt := &next.Procs[p].Term
	nt.Socket, nt.Phase = false, Closing
	if t.Off {
		*nt = Term{}
	}
	emit(Step{OpClose, int8(p), 0}, next)
}

// seal sends the seal once nothing is left to push: startSeal of
// connector/replicate/run.go.
func (m *machine) seal(s *State, p int, emit emitter) {
	t, f := &s.Procs[p].Term, s.file(p)
	if t.Push.Parts != 0 || t.Fenced || (f.Dirty != 0 && !m.rules.SealDirty) || f.NeedBase {
		return
	}
	next := m.with(s)
	nt := &next.Procs[p].Term
	nt.Seal, nt.Phase = next.freshTag(), Sealing
	next.send(sealStatement(t.Epoch, t.Cursor.Seq+1, t.Cursor.Tag, nt.Seal))
	emit(Step{OpSeal, int8(p), 0}, next)
}

// sealOutcome reads back whether the seal stands: sealDone of
// connector/replicate/run.go. The high-water mark follows (Manager.seal).
func (m *machine) sealOutcome(s *State, p int, emit emitter) {
	t := &s.Procs[p].Term
	stands := s.Cloud.Rows[t.Epoch][t.Cursor.Seq+1]
	durable := t.Answered || stands.Tag == t.Seal
	if stands.Kind == KindNone && !t.Answered {
		return
	}
	next := m.with(s)
	proc := &next.Procs[p]
	switch {
	case durable:
		if t.Epoch > proc.Mark.Epoch || t.Epoch == proc.Mark.Epoch && t.Cursor.Seq > proc.Mark.Seq {
			proc.Mark = HighWater(t.Cursor)
		}
		proc.Term = Term{Phase: Releasing, Epoch: t.Epoch, InPlace: true}
	case m.stillOurs(s, p):
		proc.Term = Term{}
	default:
		m.setAside(next, p)
	}
	emit(Step{OpSealOutcome, int8(p), 0}, next)
}

// closeFails: the time for closing is over. No seal is known to stand, the row
// stays ours, the file stays.
func (m *machine) closeFails(s *State, p int, emit emitter) {
	next, ok := m.fault(s)
	if !ok {
		return
	}
	t := &next.Procs[p].Term
	if m.rules.ReopenSealed && t.Phase == Sealing {
		t.Phase, t.Seal, t.Answered = Open, 0, false // mutation: the term goes on
	} else {
		*t = Term{}
	}
	emit(Step{OpCloseFails, int8(p), 0}, next)
}

// release is Store.Release of shared/cloudstore/owner.go (O6): guarded by the
// epoch.
func (m *machine) release(s *State, p int, emit emitter) {
	next := m.with(s)
	t := &next.Procs[p].Term
	if next.Cloud.Owner.Epoch == t.Epoch || m.rules.ReleaseUnguarded {
		next.Cloud.Owner.Conn = 0
	}
	*t = Term{}
	emit(Step{OpRelease, int8(p), 0}, next)
}
