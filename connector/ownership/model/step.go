package model

// Op is a kind of step.
type Op uint8

// Kinds of steps.
const (
	OpAct Op = iota + 1
	OpPush
	OpPushBase
	OpLand
	OpAnswer
	OpReadBack
	OpAcknowledge
	OpTake
	OpTakeLost
	OpTakeFailed
	OpResolveTake
	OpJudge
	OpRefused
	OpBuild
	OpBuildFails
	OpAdopt
	OpConnect
	OpSettle
	OpClose
	OpSeal
	OpSealOutcome
	OpCloseFails
	OpRelease
	OpTakeAgain
	OpTakeAgainLost
	OpAttachAgain
	OpDelete
	OpDeleteRows
	OpPrune
	OpCrash
	OpReboot
	OpRebootLost
	OpDiskLost
	OpCopy
	OpPutBack
	OpRestart
	OpAbandon
	OpBury
	OpDoubt
	OpBackup
	OpRestoreDB
	OpRestoreDBMarked
	NumOps // how many there are
)

// Step is one transition: what happened, to which process or statement.
type Step struct {
	Op   Op
	Proc int8
	Arg  int8
}

// machine makes the successors of a state.
type machine struct {
	bounds Bounds
	rules  Rules
	only   Invariant // 0: look for all

	scratch [8]State // see with
	turn    int
}

type emitter func(Step, *State)

// conn is the connector id of process p.
func (m *machine) conn(p int) Conn {
	if m.bounds.Clone && p == 1 {
		return 1
	}
	return Conn(p + 1)
}

// successors calls emit with every state that one step leads to.
func (m *machine) successors(s *State, emit emitter) {
	tidy := func(step Step, next *State) {
		if next.Cloud.Owner.Epoch < s.Cloud.Owner.Epoch && step.Op != OpRestoreDB {
			m.breaks(next, EpochsGrow)
		}
		m.dropSpent(next)
		emit(step, next)
	}
	for p := range m.bounds.Procs {
		if s.Procs[p].Up {
			m.sessionSteps(s, p, tidy)
			m.pushSteps(s, p, tidy)
			m.termSteps(s, p, tidy)
			m.closeSteps(s, p, tidy)
			m.deletedSteps(s, p, tidy)
		}
		m.faultSteps(s, p, tidy)
	}
	m.cloudSteps(s, tidy)
	if m.bounds.DB {
		m.databaseSteps(s, tidy)
	}
}

// file is the file that process p works on.
func (s *State) file(p int) *File {
	if s.Procs[p].Term.InPlace {
		return &s.Procs[p].File
	}
	return &s.Procs[p].Work
}

// with returns a copy of s to change. It is reused after some further calls:
// who keeps it copies it.
func (m *machine) with(s *State) *State {
	m.turn = (m.turn + 1) % len(m.scratch)
	next := &m.scratch[m.turn]
	*next = *s
	return next
}

// fault is with, and takes one from the budget of faults.
func (m *machine) fault(s *State) (*State, bool) {
	if s.Left.Faults == 0 {
		return nil, false
	}
	next := m.with(s)
	next.Left.Faults--
	return next, true
}

// dropSpent forgets statements that can't change anything any more: all their
// places are taken by rows that stay, or their guard fails for good.
func (m *machine) dropSpent(s *State) {
	c := &s.Cloud
	rowsMayGo := s.Left.Deletes > 0 || c.DeleteUpTo > 0 || s.Left.Prunes > 0
	keep := 0
	for _, st := range s.Air {
		if st.Epoch == 0 {
			continue
		}
		spent := true
		for i := range st.N {
			kind := c.Rows[st.Epoch][st.Seq+i].Kind
			if kind == KindNone || kind.isData() && rowsMayGo {
				spent = false
			}
		}
		if st.Guarded && (c.Owner.Epoch != st.Epoch || c.Owner.Off) {
			spent = true
		}
		if m.rules.IgnoreDuplicates && !s.decided(st) {
			spent = false
		}
		if !spent {
			s.Air[keep] = st
			keep++
		}
	}
	clear(s.Air[keep:])
}

// decided reports whether nobody waits for the statement's outcome.
func (s *State) decided(st Statement) bool {
	for p := range s.Procs {
		if s.awaits(p, st) {
			return false
		}
	}
	return true
}

// awaits reports whether process p waits for the outcome of st.
func (s *State) awaits(p int, st Statement) bool {
	t := &s.Procs[p].Term
	if t.Phase == Sealing && t.Seal == st.Rows[0].Tag {
		return true
	}
	if t.Push.Parts == 0 || t.Durable || t.Fenced {
		return false
	}
	return t.Push.Tags[t.Known] == st.Rows[0].Tag && t.Sent == t.Known+st.N
}
