package model

import "errors"

// Invariant is one of the promises that are checked in every state.
type Invariant uint8

// The invariants. DESIGN.md has the exact wording of each.
const (
	OneActor Invariant = iota + 1
	EpochsGrow
	NoFencedSegmentRead
	AckedPushSurvives
	NoKeyReused
	ExactIsExact
	DeletedStaysDeleted
	SealedNeverReopened
	RestorableAlways
)

var invariantNames = [...]string{
	0: "nothing", OneActor: "OneActor", EpochsGrow: "EpochsGrow", NoFencedSegmentRead: "NoFencedSegmentRead",
	AckedPushSurvives: "AckedPushSurvives", NoKeyReused: "NoKeyReused", ExactIsExact: "ExactIsExact",
	DeletedStaysDeleted: "DeletedStaysDeleted", SealedNeverReopened: "SealedNeverReopened", RestorableAlways: "RestorableAlways",
}

func (i Invariant) String() string { return invariantNames[i] }

// breaks notes the first invariant that a step broke.
func (m *machine) breaks(s *State, i Invariant) {
	if s.Ghost.Broken == 0 && m.looksFor(i) {
		s.Ghost.Broken = i
	}
}

// looksFor reports whether the search is to find where i breaks.
func (m *machine) looksFor(i Invariant) bool { return m.only == 0 || m.only == i }

// check returns the invariant that s breaks, 0 for none. before is the state that
// s was reached from, nil for the first: what didn't change is not checked again.
func (m *machine) check(before, s *State) Invariant {
	if s.Ghost.Broken != 0 {
		return s.Ghost.Broken
	}
	if broken := m.checkActors(s); broken != 0 && m.looksFor(broken) {
		return broken
	}
	if before != nil && before.Cloud == s.Cloud && before.Ghost.Acked == s.Ghost.Acked {
		return 0
	}
	if broken := m.checkCloud(s); broken != 0 && m.looksFor(broken) {
		return broken
	}
	return 0
}

// checkActors: who believes in its lease and has a socket is the owner that the
// owner row names (OneActor), and who holds the current epoch has everything
// that was reported durable (AckedPushSurvives).
func (m *machine) checkActors(s *State) Invariant {
	for p := range m.bounds.Procs {
		proc := &s.Procs[p]
		if proc.Term.Socket && proc.Believes && !m.twoAllowed() && s.Cloud.Owner.Conn != m.conn(p) {
			return OneActor
		}
		holds := proc.Term.Phase == Ready || proc.Term.Phase == Open || proc.Term.Phase == Closing
		if holds && proc.Term.Epoch == s.Cloud.Owner.Epoch && s.Ghost.Acked&^s.file(p).Facts != 0 {
			return AckedPushSurvives
		}
	}
	return 0
}

// checkCloud restores the session as the next taker would.
func (m *machine) checkCloud(s *State) Invariant {
	par := s.Cloud.readParent()
	if par.damaged {
		return RestorableAlways // Manager.checkLog refuses to open it
	}
	found, err := s.Cloud.restore(par.last, &m.rules)
	switch {
	case errors.Is(err, errNothing) || err == nil && found.credentialsOnly:
		if s.Cloud.Credentials {
			return RestorableAlways
		}
		if s.Ghost.Acked != 0 {
			return AckedPushSurvives
		}
		return 0
	case err != nil && s.Cloud.Credentials:
		return RestorableAlways
	case err != nil:
		return 0
	case found.late:
		return NoFencedSegmentRead
	case found.oldest <= s.Ghost.DeletedTo:
		return DeletedStaysDeleted
	case s.Ghost.Acked&^found.content.Facts != 0:
		return AckedPushSurvives
	}
	return 0
}
