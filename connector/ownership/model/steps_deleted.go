package model

// deletedSteps make a new backup of a session whose cloud copy was deleted:
// Manager.backUpAgain of connector/manager/operations.go (O10).
func (m *machine) deletedSteps(s *State, p int, emit emitter) {
	t := &s.Procs[p].Term
	if t.Phase != Open {
		return
	}
	if s.answeredAgain(p) {
		m.attachAgain(s, p, emit)
	} else if t.Off || t.Fenced || t.Again != 0 {
		m.takeAgain(s, p, emit)
	}
}

// answeredAgain reports whether process p is between the take for a new backup
// and its attaching: it holds the session's lock.
func (s *State) answeredAgain(p int) bool {
	again := s.Procs[p].Term.Again
	return again != 0 && s.Cloud.Epochs[again].Nonce == 0
}

// takeAgain takes a new epoch without a parent. When its answer is lost for
// good, the next sync takes another: the owner row shows a later epoch of ours.
func (m *machine) takeAgain(s *State, p int, emit emitter) {
	t := &s.Procs[p].Term
	o := s.Cloud.Owner
	again := o.Epoch > t.Epoch && o.Conn == m.conn(p)
	if !m.deletedOnly(s, p) && !again || !m.mayTake(s, p) {
		return
	}
	next := m.with(s)
	m.commitAgain(next, p)
	emit(Step{OpTakeAgain, int8(p), 0}, next)
	if next, ok := m.fault(s); ok {
		m.commitAgain(next, p)
		next.Cloud.Epochs[o.Epoch+1].Nonce = next.freshTag() // nobody knows of it
		emit(Step{OpTakeAgainLost, int8(p), 0}, next)
	}
}

func (m *machine) commitAgain(s *State, p int) {
	c := &s.Cloud
	o := c.Owner.Epoch
	m.putFence(s, c.readParent())
	c.Owner = Owner{Conn: m.conn(p), Epoch: o + 1}
	m.insertEpoch(s, o+1, Epoch{Start: StartNew})
	s.Procs[p].Term.Again = o + 1
}

// attachAgain goes on with the same file and socket in the new epoch.
func (m *machine) attachAgain(s *State, p int, emit emitter) {
	next := m.with(s)
	proc := &next.Procs[p]
	t := &proc.Term
	proc.File.begin(t.Again, Cursor{}, true)
	if t.Again > proc.Mark.Epoch {
		proc.Mark = HighWater{Epoch: t.Again}
	}
	*t = Term{Phase: Open, Epoch: t.Again, Start: StartNew, InPlace: true, Cursor: Cursor{Epoch: t.Again}, Socket: t.Socket}
	next.noteHead(p, m.conn(p))
	emit(Step{OpAttachAgain, int8(p), 0}, next)
}
