package model

// sessionSteps are what the session itself does: messages, and the socket.
func (m *machine) sessionSteps(s *State, p int, emit emitter) {
	t := &s.Procs[p].Term
	if t.Phase != Open {
		return
	}
	if t.Socket && s.Ghost.NextFact < m.bounds.Acts {
		m.act(s, p, emit)
	}
	if !t.Socket && s.Procs[p].Believes {
		m.connect(s, p, emit)
	}
}

// act sends a message. The file is committed first (capture notes the change,
// C1), then the message goes out. Receiving is the same without a message key.
func (m *machine) act(s *State, p int, emit emitter) {
	next := m.with(s)
	f, t, g := next.file(p), &next.Procs[p].Term, &next.Ghost
	if f.Counter < g.Used[f.Lineage] {
		m.breaks(next, NoKeyReused)
	}
	for _, row := range next.Cloud.Rows[t.Epoch] {
		if row.Kind == KindSeal {
			m.breaks(next, SealedNeverReopened)
		}
	}
	fact := uint8(1) << g.NextFact
	g.NextFact++
	f.Counter++
	g.Used[f.Lineage] = max(g.Used[f.Lineage], f.Counter)
	f.Facts |= fact
	f.Dirty |= fact
	next.noteHead(p, m.conn(p))
	emit(Step{OpAct, int8(p), 0}, next)
}

// noteHead notes the state of process p as the one that the session's owner last
// acted with, if p is the owner. Between a take after DELETE and its attaching
// the owner acts under its former epoch.
func (s *State) noteHead(p int, conn Conn) {
	t := &s.Procs[p].Term
	o := s.Cloud.Owner
	if o.Conn == conn && (o.Epoch == t.Epoch || t.Again != 0) {
		s.Ghost.Head = s.file(p).Content
	}
}

// connect opens the socket: whatsapp.Session asks mayConnect of
// connector/manager/watch.go before each attempt (O5, O9). The service lets one
// device have one socket, and closes the other's.
func (m *machine) connect(s *State, p int, emit emitter) {
	next := m.with(s)
	for q := range m.bounds.Procs {
		other := &next.Procs[q]
		if q == p || !other.Term.Socket {
			continue
		}
		if other.Believes && !m.twoAllowed() {
			m.breaks(next, OneActor)
		}
		other.Term.Socket = false
	}
	next.Procs[p].Term.Socket = true
	emit(Step{OpConnect, int8(p), 0}, next)
}

// twoAllowed: who copies the directory of a running connector to another machine
// and starts it there has two of them for as long as the first believes in its
// lease. The search looks for that only when it is asked to.
func (m *machine) twoAllowed() bool { return m.bounds.Clone && m.only != OneActor }
