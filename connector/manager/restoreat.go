package manager

import (
	"context"
	"errors"
	"fmt"

	"cloudsession/connector/capture"
	"cloudsession/connector/control"
	"cloudsession/connector/replicate"
	"cloudsession/shared/cloudstore"
)

// ErrOpen means that a session is open here and must be closed first.
var ErrOpen = errors.New("session is open here: close it first")

var errBadPoint = errors.New("bad restore point")

// RestoreAt opens a closed session as it was at an older point of its log. The
// start is safe, and the state it goes back from stays in the log.
func (l Local) RestoreAt(ctx context.Context, id string, r control.RestoreRequest) (control.Session, error) {
	at, err := replicate.ParsePoint(r.At)
	if err != nil {
		return control.Session{}, fmt.Errorf("%w: %w", errBadPoint, err)
	}
	m := l.m
	s, err := m.entry(id)
	if err != nil {
		return control.Session{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.current(); o != nil && !o.rest {
		return control.Session{}, ErrOpen
	}
	leave, err := m.placeFor(s)
	if err != nil {
		return control.Session{}, err
	}
	defer leave()
	if err := m.restAside(ctx, s, true); err != nil {
		return control.Session{}, err
	}
	if err := m.openLocked(ctx, s, openRequest{reason: "restore at " + at.String(), byCommand: true, at: &at}); err != nil {
		return control.Session{}, err
	}
	s.succeeded()
	s.log.Warn("session went back to an older point of its log", "point", at.String(), "epoch", s.epochNow())
	return describe(s), nil
}

// restoreFile builds a session file from the log, as it is at its end or at an
// older point.
func (m *Manager) restoreFile(ctx context.Context, taken cloudstore.Taken, at *replicate.Point, path string) (restored replicate.Restored, err error) {
	if at != nil {
		restored, err = replicate.RestoreAt(ctx, m.opt.Store, m.opt.Keys, taken, *at, path)
	} else {
		restored, err = replicate.Restore(ctx, m.opt.Store, m.opt.Keys, taken, path)
	}
	if errors.Is(err, replicate.ErrNothing) {
		return restored, ErrNoSession
	}
	if errors.Is(err, capture.ErrCorrupt) { // each row is as it was sealed, and all of them make no session
		err = fmt.Errorf("%w: %w", errLogDamaged, err)
	}
	if err != nil {
		return restored, fmt.Errorf("restore session: %w", err)
	}
	return restored, nil
}
