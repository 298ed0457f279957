package manager

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cloudsession/connector/inbox"
	"cloudsession/connector/whatsapp"
	"cloudsession/shared/cloudstore"
)

// releaseLater frees a session that has ended here and whose release did not get
// through, when its turn comes. One that can't be freed stays this connector's, and
// is tried again, less and less often.
func (m *Manager) releaseLater(s *session) {
	m.background(s.id, func(ctx context.Context) {
		select {
		case m.turns <- struct{}{}:
		case <-ctx.Done():
			return
		}
		defer func() { <-m.turns }()
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.current() != nil {
			return
		}
		if err := m.releaseUnheld(ctx, s); err != nil {
			s.failed(time.Now())
			m.logUnlessEnding(ctx, "session not released", err)
			return
		}
		s.succeeded()
	})
}

// releaseUnheld closes in order what could not be closed so when it ended. Nobody
// opens the session again by himself: what its file alone holds is pushed now or
// never, and so it is with what the application hasn't taken.
func (m *Manager) releaseUnheld(ctx context.Context, s *session) error {
	owner, err := m.opt.Store.Owner(ctx, s.id)
	if err != nil {
		return fmt.Errorf("read owner of session: %w", err)
	}
	if owner.ConnectorID != m.opt.Lease.ConnectorID() || m.opensByItself(owner) {
		return nil // it has changed meanwhile
	}
	state, detail := s.stateNow()
	if finalError(state, detail) == nil { // an earlier process's
		state, detail = whatsapp.State(owner.State), owner.StateDetail
	}
	err = m.closeUnopened(ctx, s, openRequest{reason: "ended", anyWanted: true},
		release{wanted: owner.Wanted, forGood: owner.Wanted == cloudstore.WantedClosed && finalError(state, detail) != nil}, state, detail)
	if errors.Is(err, ErrNoSession) { // a pairing that never came to a link
		return m.opt.Store.Release(ctx, s.id, owner.Epoch, "", 0, "")
	}
	if err != nil {
		s.setState(state, detail) // how it ended, not that it wasn't released
	}
	return err
}

// giveUpTime is how long the push of what is left may take, which nobody waits for.
const giveUpTime = 2 * time.Minute

// closeUnopened takes a session that is this connector's and isn't open, without a
// socket, and closes it in order: what an earlier term left in its file, nobody else
// has. state is what the session is called then.
func (m *Manager) closeUnopened(ctx context.Context, s *session, r openRequest, after release, state whatsapp.State, detail string) error {
	o, err := m.acquire(ctx, s, r)
	if err != nil {
		return err
	}
	o.leaving = true
	if o.rest { // how it ended, whatever it is closed for
		state, detail = whatsapp.State(o.taken.Parent.Owner.State), o.taken.Parent.Owner.StateDetail
	}
	s.setState(state, detail)
	if err := m.admit(ctx, s, o); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, giveUpTime)
	defer cancel()
	pushed := o.rep.Flush(ctx)
	if err := m.closeInTime(ctx, s, after); err != nil {
		return errors.Join(err, pushed)
	}
	return nil // sealed, and so pushed, whatever the first attempt came to
}

// leaveMessages makes sure that what a session that has ended for good has not
// delivered is delivered from its file, which nobody opens again.
func (m *Manager) leaveMessages(ctx context.Context, s *session, o *opened) error {
	if m.opt.Webhook == nil {
		return nil
	}
	box := inbox.New(o.file.DB(), inbox.Options{})
	list, err := box.Undelivered(ctx, 0, 1)
	if err == nil && len(list) == 0 {
		return nil
	}
	if err == nil {
		err = box.SetMark(ctx, deliverRest, "1")
	}
	if err != nil {
		return fmt.Errorf("keep undelivered messages for delivery: %w", err)
	}
	return errors.Join(o.shutReplication(), s.files.setAside())
}
