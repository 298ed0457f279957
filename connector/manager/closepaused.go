package manager

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"cloudsession/connector/whatsapp"
	"cloudsession/shared/cloudstore"
)

// closePaused closes a session by hand that isn't open here and that some heartbeat is to
// open: it is between two attempts, banned for a while, without a connector that has a
// place, or what is left of it is about to be delivered. ErrNotOpen if it is closed, or a
// live connector's.
func (m *Manager) closePaused(ctx context.Context, s *session) error {
	owner, err := m.paused(ctx, s)
	if err != nil {
		return err
	}
	_, here, err := s.files.adopted()
	if err != nil && !errors.Is(err, errDamaged) {
		return err
	}
	rest := owner.Wanted == cloudstore.WantedRest
	free := owner.ConnectorID == "" && !rest
	switch {
	case free && !here:
		return m.closeRow(ctx, s, owner) // what others have of it is as it was
	case owner.ConnectorID == m.opt.Lease.ConnectorID() && !rest:
		// First, for what keeps it from being opened may keep it from being closed in
		// order: the heartbeats try that again.
		if err := m.closeRow(ctx, s, owner); err != nil {
			return err
		}
	}
	state, detail := closedState(owner)
	// What is left to deliver stays owed until it is in a file that is delivered.
	err = m.closeUnopened(ctx, s, openRequest{reason: "close", byCommand: true, keepWanted: true},
		release{wanted: cloudstore.WantedClosed, forGood: rest}, state, detail)
	switch {
	case errors.Is(err, ErrElsewhere):
		return ErrNotOpen
	case errors.Is(err, errBanned) && free:
		return m.closeRow(ctx, s, owner) // its log was sealed with the ban
	case errors.Is(err, ErrNoSession): // a pairing that never came to a link, or a copy that was deleted
		return m.opt.Store.Release(ctx, s.id, owner.Epoch, "", 0, cloudstore.WantedClosed)
	case err != nil:
		return fmt.Errorf("bring what this machine has of the session to the cloud: %w", err)
	}
	return nil
}

// paused returns the owner row of a session that isn't open here, and that isn't closed
// or a live connector's: then ErrNotOpen.
func (m *Manager) paused(ctx context.Context, s *session) (owner cloudstore.Owner, err error) {
	if e := s.endingNow(); e != nil {
		if err = m.reportEnding(ctx, s, e); err != nil {
			return owner, fmt.Errorf("write how the session has ended: %w", err)
		}
	}
	owner, err = m.opt.Store.Owner(ctx, s.id)
	if errors.Is(err, cloudstore.ErrNotFound) {
		return owner, ErrNotOpen
	}
	if err != nil {
		return owner, fmt.Errorf("read owner of session: %w", err)
	}
	if owner.Wanted == cloudstore.WantedClosed {
		return owner, ErrNotOpen
	}
	if live, err := m.heldElsewhere(ctx, owner); err != nil {
		return owner, err
	} else if live {
		return owner, ErrNotOpen
	}
	return owner, nil
}

// heldElsewhere reports whether another live connector has the session.
func (m *Manager) heldElsewhere(ctx context.Context, owner cloudstore.Owner) (bool, error) {
	if owner.ConnectorID == "" || owner.ConnectorID == m.opt.Lease.ConnectorID() {
		return false, nil
	}
	c, err := m.opt.Store.Connector(ctx, owner.ConnectorID)
	if errors.Is(err, cloudstore.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read connector of session: %w", err)
	}
	return c.Live, nil
}

// closeRow says in the owner row that the session stays closed, unless somebody has
// taken it meanwhile: ErrNotOpen.
func (m *Manager) closeRow(ctx context.Context, s *session, owner cloudstore.Owner) error {
	state, detail := closedState(owner)
	err := m.opt.Store.End(ctx, s.id, owner.Epoch, cloudstore.Ending{
		State: string(state), Detail: detail, Wanted: cloudstore.WantedClosed, Pause: max(0, time.Until(owner.NotBefore)),
	})
	if errors.Is(err, cloudstore.ErrFenced) {
		return ErrNotOpen
	}
	if err != nil {
		return fmt.Errorf("close session: %w", err)
	}
	s.setState(state, detail)
	return nil
}

// closedState is what a session is called that was closed by hand while it was not open.
func closedState(owner cloudstore.Owner) (whatsapp.State, string) {
	switch state := whatsapp.State(owner.State); {
	case owner.Wanted == cloudstore.WantedRest:
		return state, owner.StateDetail
	case state == whatsapp.StateBanned:
		return state, strings.TrimSuffix(owner.StateDetail, connectsAgain)
	}
	return whatsapp.StateStopped, ""
}
