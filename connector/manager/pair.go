package manager

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cloudsession/connector/control"
	"cloudsession/connector/whatsapp"
	"cloudsession/shared/cloudstore"
)

// Pair links a session to a phone and reports how that goes. A session that is
// in the cloud is loaded instead: only a clean "no such session" leads to a QR
// code. It returns ErrPaired for a session that is open here.
func (m *Manager) Pair(ctx context.Context, id string, r control.PairRequest, report func(control.PairEvent)) error {
	s, err := m.entry(id)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.current(); o != nil && !o.rest {
		return ErrPaired
	}
	leave, err := m.placeFor(s)
	if err != nil {
		return err
	}
	defer leave()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(m.life, cancel)()

	if err := m.restAside(ctx, s, false); err != nil {
		return err
	}
	loaded, err := m.loadInstead(ctx, s)
	if err != nil {
		return err
	}
	if loaded {
		report(control.PairEvent{Kind: "loaded"})
		return nil
	}
	if err := m.openLocked(ctx, s, openRequest{reason: "pair", create: true}); err != nil {
		return err
	}
	leave()
	if err = m.pairLocked(ctx, s, r, report); err == nil {
		return nil
	}
	return m.pairingFailed(s, err, report)
}

// pairingFailed ends a pairing that didn't come to its end. If the phone has
// linked the device all the same (the client went away, the first login hangs),
// the session is kept: its keys are real, and another scan would be another device.
func (m *Manager) pairingFailed(s *session, cause error, report func(control.PairEvent)) error {
	ctx, cancel := context.WithTimeout(m.hard, m.stopTime)
	defer cancel()
	o := s.current()
	linked, err := hasDevice(ctx, o.file)
	if err != nil {
		s.log.Error("session file not read after a pairing; it is kept", "error", err)
	}
	if linked || err != nil {
		s.log.Info("the phone has linked the session, and it is kept", "reason", cause)
		err := m.paired(ctx, s, o, report)
		if !o.wa.Paired() { // the pairing ended before it learned of the link: this never logs in
			s.shutToReopen(o)
		}
		return err
	}
	s.log.Info("pairing ended without a link")
	return errors.Join(cause, m.closeLocked(ctx, s, release{}))
}

// loadInstead opens the session if it exists and was not logged out.
func (m *Manager) loadInstead(ctx context.Context, s *session) (bool, error) {
	owner, err := m.ownerState(ctx, s.id)
	if err != nil {
		return false, err
	}
	if owner == whatsapp.StateLoggedOut {
		return false, nil // its keys are of no use to anybody: a new identity is what is wanted
	}
	err = m.openLocked(ctx, s, openRequest{reason: "load", byCommand: true})
	if errors.Is(err, ErrNoSession) {
		return false, nil
	}
	return err == nil, err
}

func (m *Manager) pairLocked(ctx context.Context, s *session, r control.PairRequest, report func(control.PairEvent)) error {
	o := s.current()
	events, err := o.wa.Pair(ctx, whatsapp.PairRequest{Phone: r.Phone})
	if err != nil {
		return fmt.Errorf("start pairing: %w", err)
	}
	for e := range events {
		switch e.Kind {
		case whatsapp.PairQR:
			report(control.PairEvent{Kind: "qr", QR: e.Text})
		case whatsapp.PairCode:
			report(control.PairEvent{Kind: "code", Code: e.Text})
		case whatsapp.PairSuccess:
			return m.paired(ctx, s, o, report)
		case whatsapp.PairTimeout:
			return errors.New("nobody answered in time: run pair again")
		case whatsapp.PairPasskey:
			return errors.New(e.Text)
		case whatsapp.PairFailed:
			return fmt.Errorf("pair: %w", e.Err)
		}
	}
	return errors.New("pairing was cancelled")
}

// paired makes the new session durable before it is called paired: a link that
// a crash could undo would cost another scan.
func (m *Manager) paired(ctx context.Context, s *session, o *opened, report func(control.PairEvent)) error {
	o.fresh.Store(false)
	s.log.Info("session paired", "epoch", o.taken.Epoch)
	// A database that is away must not undo the pairing: the session is on disk
	// and is pushed when the database is back.
	flush, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	if err := o.rep.Flush(flush); err != nil {
		s.log.Warn("new session is not in the cloud yet", "error", err)
	}
	report(control.PairEvent{Kind: "paired"})
	return nil
}

// ownerState is the state in the owner row; empty for a session nobody ever took.
func (m *Manager) ownerState(ctx context.Context, id string) (whatsapp.State, error) {
	owner, err := m.opt.Store.Owner(ctx, id)
	if errors.Is(err, cloudstore.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read owner of session: %w", err)
	}
	return whatsapp.State(owner.State), nil
}
