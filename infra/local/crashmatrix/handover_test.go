package crashmatrix_test

import (
	"context"
	"errors"

	"cloudsession/shared/cloudstore"
)

// toFirst asks for the session to be handed over to the connector whose link
// breaks. Its other end is command-handover.
var toFirst = commanded(cloudstore.CommandRestore, `{"connector":"first"}`)

// heldElsewhere: another connector holds the session, and is to give it to one
// with so much room. Both do what they do by themselves.
func heldElsewhere(capacity int) func(s *scene) {
	return func(s *scene) {
		s.giver = s.paired("giver", nil)
		s.giver.run()
		s.waitQueue(s.giver)
		s.capacity = capacity
		s.first = s.start("first", s.t.TempDir(), s.link)
		s.capacity = room
		s.first.run()
		s.waitQueue(s.first)
	}
}

// declined: the session is refused by the one it is handed to, and goes on where
// it came from.
func declined(s *scene, ctx context.Context) error {
	err := toFirst(s, ctx)
	switch {
	case err == nil:
		return errors.New("a connector without room took the session")
	case !errors.Is(err, errCommandFailed):
		return err
	}
	return s.giver.open(ctx)
}

// partner is the connector at the other end of a handover, while it lives.
func (s *scene) partner() *connector {
	for _, c := range []*connector{s.target, s.giver} {
		if c != nil && !c.gone {
			return c
		}
	}
	return nil
}

// holder is where an operation that wasn't cut short leaves the session.
func (s *scene) holder(op operation) *connector {
	switch {
	case s.target != nil:
		return s.target
	case op.declines:
		return s.giver
	}
	return s.first
}

// lastRows are the rows of every file in which the session may have moved on.
func (s *scene) lastRows() (files []rows) {
	s.t.Helper()
	for _, c := range []*connector{s.first, s.target, s.giver} {
		if c == nil {
			continue
		}
		if _, ok := s.adopted(c); ok {
			files = append(files, s.fileRows(c))
		}
	}
	return files
}
