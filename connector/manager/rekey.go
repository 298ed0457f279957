package manager

import (
	"context"
	"errors"
	"fmt"

	"cloudsession/connector/logctx"
	"cloudsession/connector/rekey"
	"cloudsession/connector/whatsapp"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/envelope"
)

// rekeyCommand has a session sealed anew under the current secret: a fresh base
// and credentials, everything older deleted, restore points and all (section 6 of
// the design). A session that nobody holds is taken for it, without a socket,
// sealed and released as it was; of one without a log only the row is replaced.
func (m *Manager) rekeyCommand(ctx context.Context, c cloudstore.Command) error {
	if err := rekey.Check(m.opt.Keys, c.SessionID, c.Args); err != nil {
		return err
	}
	s, err := m.entry(c.SessionID)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.current(); o != nil {
		if o.fresh.Load() {
			return ErrNotOpen
		}
		return o.rep.Rebase(ctx, true)
	}
	headers, err := m.opt.Store.SegmentHeaders(ctx, s.id, envelope.KeyHeader)
	if err != nil {
		return err
	}
	if len(headers) == 0 {
		return rekey.Credentials(ctx, m.opt.Store, m.opt.Keys, s.id)
	}
	return m.rekeyUnheld(ctx, s)
}

func (m *Manager) rekeyUnheld(ctx context.Context, s *session) error {
	owner, err := m.opt.Store.Owner(ctx, s.id)
	if errors.Is(err, cloudstore.ErrNotFound) {
		return ErrNoSession
	}
	if err != nil {
		return fmt.Errorf("read owner of session: %w", err)
	}
	leave, err := m.enter(false)
	if err != nil {
		return err
	}
	defer leave()
	o, err := m.acquire(ctx, s, openRequest{reason: "rekey", anyWanted: true})
	if err != nil {
		return err
	}
	if err := m.admit(ctx, s, o); err != nil {
		return err
	}
	err = o.rep.Rebase(ctx, true)
	closing, cancel := context.WithTimeout(logctx.Onto(m.hard, ctx), m.stopTime)
	defer cancel()
	err = errors.Join(err, m.closeLocked(closing, s, release{reserveFor: owner.ReservedFor, wanted: owner.Wanted}))
	// It has not run: its state is what it was.
	s.setState(whatsapp.State(owner.State), owner.StateDetail)
	back := m.opt.Store.SetState(closing, s.id, o.taken.Epoch, owner.State, owner.StateDetail)
	if errors.Is(back, cloudstore.ErrFenced) { // somebody has taken it already
		back = nil
	}
	return errors.Join(err, back)
}
