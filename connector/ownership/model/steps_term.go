package model

import "errors"

// termSteps lead from nothing held to an open session (connector/manager/open.go).
func (m *machine) termSteps(s *State, p int, emit emitter) {
	switch t := &s.Procs[p].Term; t.Phase {
	case Idle:
		m.take(s, p, emit)
	case Unknown:
		m.resolveTake(s, p, emit)
	case Taken:
		m.build(s, p, emit)
		m.buildFails(s, p, emit)
	case Ready:
		m.adopt(s, p, emit)
		m.buildFails(s, p, emit)
	default:
	}
}

// mayTake is mayTake and checkAlive of shared/cloudstore/takeable.go (O3).
// Reservations are left out: who may take is a superset.
func (m *machine) mayTake(s *State, p int) bool {
	o := s.Cloud.Owner
	mine := o.Conn == m.conn(p)
	if !s.Procs[p].Current || o.Epoch+1 > m.bounds.Epochs || o.Off && !mine {
		return false
	}
	if mine || o.Conn == 0 {
		return true
	}
	for q := range m.bounds.Procs {
		if m.conn(q) == o.Conn && s.Procs[q].Current {
			return false
		}
	}
	return true
}

// take is Store.Take of shared/cloudstore/take.go, called by Manager.take (O4):
// one transaction. Its answer may be lost, committed or not.
func (m *machine) take(s *State, p int, emit emitter) {
	if !m.mayTake(s, p) {
		return
	}
	proc := &s.Procs[p]
	par := s.Cloud.readParent()
	start := judge(&proc.File, proc.Mark, par, m.mayBeOnly(par, p), &m.rules)
	if m.rules.JudgeBeforeTake {
		if proc.Term.Judged != start && start == StartExact {
			next := m.with(s)
			next.Procs[p].Term.Judged = start
			emit(Step{OpJudge, int8(p), 0}, next)
		}
		if proc.Term.Judged != StartNone {
			start = proc.Term.Judged
		}
	}
	if start == StartNone {
		m.refused(s, p, par, emit)
		return
	}
	next := m.with(s)
	m.commitTake(next, p, par, start)
	next.Procs[p].Term.Phase = Taken
	emit(Step{OpTake, int8(p), 0}, next)
	if next, ok := m.fault(s); ok {
		nonce := next.freshTag()
		failed := *next
		m.commitTake(next, p, par, start)
		next.Procs[p].Term.Phase, next.Procs[p].Term.Nonce = Unknown, nonce
		next.Cloud.Epochs[next.Cloud.Owner.Epoch].Nonce = nonce
		emit(Step{OpTakeLost, int8(p), 0}, next)

		would := *next // what the process would have committed
		failed.Procs[p].Term = would.Procs[p].Term
		emit(Step{OpTakeFailed, int8(p), 0}, &failed)
	}
}

// mayBeOnly reports whether a file of process p's may be the only copy: no other
// connector owns the session.
func (m *machine) mayBeOnly(par parent, p int) bool {
	return par.owner.Conn == m.conn(p) || par.owner.Conn == 0 && !m.rules.OnlyCopyOwned
}

// refused: the judgement was ErrNoSession. That is a lie if this machine holds
// the only copy of a session that is wanted.
func (m *machine) refused(s *State, p int, par parent, emit emitter) {
	if s.Procs[p].File.Exists && (par.owner.Conn == m.conn(p) || par.owner.Conn == 0) {
		next := m.with(s)
		m.breaks(next, RestorableAlways)
		emit(Step{OpRefused, int8(p), 0}, next)
	}
}

// commitTake writes what a take writes: the fence, the epoch row, the owner row.
func (m *machine) commitTake(s *State, p int, par parent, start Start) {
	c := &s.Cloud
	o := c.Owner.Epoch
	m.putFence(s, par)
	c.Owner = Owner{Conn: m.conn(p), Epoch: o + 1, Off: c.Owner.Off}
	m.insertEpoch(s, o+1, Epoch{Parent: par.last, Start: start})
	s.Procs[p].Term = Term{
		Epoch: o + 1, Start: start, Parent: par.last, Off: c.Owner.Off, Head: s.Ghost.Head,
		InPlace: start == StartOwnFile || start == StartLocal, NoCopy: !c.Credentials,
	}
}

// putFence is fence of shared/cloudstore/take.go. The places behind the log's
// end are locked (lockAhead), so nothing lands between the reading and this.
func (m *machine) putFence(s *State, par parent) {
	if par.terminator == 0 && !m.rules.NoFence {
		tag := s.freshTag()
		s.Cloud.Rows[par.owner.Epoch][par.lastSeq+1] = Row{Kind: KindFence, Part: 1, Parts: 1, Tag: tag}
	}
}

func (m *machine) insertEpoch(s *State, epoch uint8, e Epoch) {
	if s.Cloud.Epochs[epoch].Start != StartNone || epoch <= s.Ghost.EverEpoch && !s.Ghost.Rewound {
		m.breaks(s, EpochsGrow)
	}
	s.Cloud.Epochs[epoch] = e
	s.Ghost.EverEpoch = max(s.Ghost.EverEpoch, epoch)
}

// resolveTake is what Take does after a lost answer: findOwnCommit looks for the
// nonce. Where it isn't, the take is begun again, which is take from Idle.
func (m *machine) resolveTake(s *State, p int, emit emitter) {
	next := m.with(s)
	t := &next.Procs[p].Term
	found := s.Cloud.Epochs[s.Cloud.Owner.Epoch].Nonce == t.Nonce
	if found || m.rules.NoNonce {
		t.Phase, t.Nonce = Taken, 0
	} else {
		*t = Term{}
	}
	emit(Step{OpResolveTake, int8(p), 0}, next)
}

// build makes the file of the term (Manager.build; replicate.Attach): the
// high-water mark raised, the log replayed or the own file resumed, on a safe
// start the ratchets dropped, the term noted in the file (Begin). What is read
// can't change any more: it stands before a terminator, and only a later owner
// prunes it.
func (m *machine) build(s *State, p int, emit emitter) {
	next := m.with(s)
	proc := &next.Procs[p]
	t := &proc.Term
	if t.Epoch > proc.Mark.Epoch {
		proc.Mark = HighWater{Epoch: t.Epoch}
	}
	f := next.file(p)
	switch t.Start {
	case StartOwnFile:
		f.resume(t.Parent, t.Off)
	case StartLocal:
		next.dropRatchets(f)
	default:
		found, err := next.Cloud.restore(t.Parent, &m.rules)
		if errors.Is(err, errNothing) && proc.File.Exists && t.NoCopy {
			m.breaks(next, RestorableAlways)
			emit(Step{OpRefused, int8(p), 0}, next)
		}
		if err != nil || found.credentialsOnly {
			return // the build fails; RestorableAlways tells whether it may
		}
		*f = File{Exists: true, Content: found.content}
		if t.Start == StartSafe {
			next.dropRatchets(f)
		}
	}
	f.begin(t.Epoch, t.Parent, t.Start.isSafe() && !m.rules.NoBaseAfterSafe)
	t.Cursor = Cursor{Epoch: t.Epoch, Tag: t.Parent.Tag}
	t.Phase = Ready
	if (t.Start == StartExact || t.Start == StartOwnFile) && f.Content != t.Head {
		m.breaks(next, ExactIsExact)
	}
	t.Head = Content{}
	if t.InPlace {
		next.noteHead(p, m.conn(p)) // it is the adopted file already
	}
	emit(Step{OpBuild, int8(p), 0}, next)
	if next.Left.Upgrades > 0 && !f.NeedBase { // C1: whatsmeow's schema changed
		next.Left.Upgrades--
		f.NeedBase = true
		emit(Step{OpBuild, int8(p), 1}, next)
	}
}

// dropRatchets is whatsapp.Session.PrepareSafe (section 7, step 2): the next
// message begins a new lineage.
func (s *State) dropRatchets(f *File) {
	s.Ghost.Lineages++
	f.Lineage, f.Counter = s.Ghost.Lineages, 0
}

// resume is ResumeOwnFile of connector/replicate/attach.go.
func (f *File) resume(par Cursor, off bool) {
	if off {
		return
	}
	seq := par.Seq
	if par.Epoch != f.Epoch {
		seq = 0 // the file's term left no row
	}
	if parts, ok := known(f, seq, par.Tag); ok && parts > 0 && parts == f.InFlight.Parts {
		f.acknowledge(f.Epoch, f.InFlight)
	}
}

// begin is Begin of connector/capture/state.go, called by beginTerm of
// connector/replicate/attach.go.
func (f *File) begin(epoch uint8, par Cursor, needBase bool) {
	f.Epoch, f.Acked, f.InFlight = epoch, par, Push{}
	f.NeedBase = f.NeedBase || needBase || par.Seq == 0
	f.SameBoot, f.SameInode = true, true
}

// buildFails gives the session back before any socket (O7;
// connector/manager/giveback.go). An exact term is sealed at once. The release
// follows whatever became of that seal.
func (m *machine) buildFails(s *State, p int, emit emitter) {
	next, ok := m.fault(s)
	if !ok {
		return
	}
	proc := &next.Procs[p]
	t := proc.Term
	if t.Start == StartExact || m.rules.SealAnyFailure && t.Start == StartSafe {
		next.send(sealStatement(t.Epoch, 1, t.Parent.Tag, next.freshTag()))
	}
	proc.Work = File{}
	proc.Term = Term{Phase: Releasing, Epoch: t.Epoch, InPlace: true}
	if t.Off || t.NoCopy && !m.rules.OnlyCopyIgnored && !m.rules.OnlyCopyOwned {
		proc.Term = Term{} // without a copy in the cloud it is worth something only here
	}
	emit(Step{OpBuildFails, int8(p), 0}, next)
}

func sealStatement(epoch, seq uint8, prev, tag Tag) Statement {
	return Statement{Epoch: epoch, Seq: seq, N: 1, Rows: [maxParts]Row{{Kind: KindSeal, Part: 1, Parts: 1, Tag: tag, Prev: prev}}}
}

// adopt makes the file the session's (sessionFiles.adopt; O5): on a safe start
// once the base is durable.
func (m *machine) adopt(s *State, p int, emit emitter) {
	t := &s.Procs[p].Term
	if t.Start.isSafe() && !t.BasePushed && !t.Off && !m.rules.NoBaseAfterSafe {
		return
	}
	next := m.with(s)
	proc := &next.Procs[p]
	if !t.InPlace {
		proc.File, proc.Work = proc.Work, File{}
	}
	proc.Term.InPlace, proc.Term.Phase = true, Open
	next.noteHead(p, m.conn(p))
	emit(Step{OpAdopt, int8(p), 0}, next)
}
