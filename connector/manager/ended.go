package manager

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"cloudsession/connector/logctx"
	"cloudsession/connector/whatsapp"
	"cloudsession/shared/cloudstore"
)

const (
	// StateContested is a session that another client with the same keys keeps
	// taking over. It stays closed until somebody restores it.
	StateContested whatsapp.State = "contested"
	// StateLost is a session that this process held and somebody else has now. It
	// is not written to TiDB, where the other's state stands.
	StateLost whatsapp.State = "lost"
)

var (
	errContested = errors.New("another client keeps connecting with this session's keys")
	errBanned    = errors.New("session is banned for a while")
	errRefused   = errors.New("the service refuses the session's login")
)

// connectsAgain ends the detail of a ban that ends by itself.
const connectsAgain = "; it connects again after that"

// contestedAfter is how many replacements without a quiet time in between make
// a session contested.
const contestedAfter = 4

// finish ends a session that whatsapp says won't come back by itself.
func (m *Manager) finish(s *session, o *opened, state whatsapp.State, detail string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	cur := s.current()
	if cur == nil || cur.wa != o.wa || cur.fresh.Load() {
		return // a pairing ends by itself
	}
	o = cur // a new backup after a DELETE keeps the socket but not the epoch
	if state == whatsapp.StateReplaced {
		m.replaced(m.hard, s, o)
		return
	}
	level := slog.LevelWarn
	if state == whatsapp.StateOutdated {
		level = slog.LevelError // no session of this program can log in any more
	}
	s.log.Log(context.Background(), level, "session has ended", "state", string(state), "detail", detail)
	ctx, cancel := context.WithTimeout(m.hard, m.stopTime)
	defer cancel()
	if err := m.closeLocked(ctx, s, release{wanted: cloudstore.WantedClosed}); err != nil {
		s.log.Error("close session", "error", err)
	}
}

// ending is what has to stand in the owner row of a session that has ended, so
// that nobody fails it over. It is written again until it does.
type ending struct {
	epoch  uint64
	state  string
	detail string
	wanted string
	until  time.Time // nobody connects before; zero for no such time
}

// endingOf says how the session ended, if whatsapp has found that it did. A ban
// passes by itself, and the session is to be opened again after it.
func endingOf(o *opened) (e ending, over bool) {
	cause := o.wa.Err()
	if cause == nil || errors.Is(cause, whatsapp.ErrReplaced) {
		return e, false
	}
	state, detail := o.wa.State()
	e = ending{epoch: o.taken.Epoch, state: string(state), detail: detail, wanted: cloudstore.WantedClosed}
	if banned, ok := errors.AsType[*whatsapp.BannedError](cause); ok && !banned.Until.IsZero() {
		e.wanted, e.until = cloudstore.WantedOpen, banned.Until
		e.detail += connectsAgain
	}
	return e, true
}

// noteEnding says in the owner row that the session has ended, before anything else
// is done about it. What can't be written now is written later.
func (m *Manager) noteEnding(ctx context.Context, s *session, e ending) {
	if !e.until.IsZero() {
		s.rest(e.until)
	}
	m.opt.Observer.Ended(e.state)
	s.setState(whatsapp.State(e.state), e.detail)
	s.setEnding(&e)
	if err := m.reportEnding(ctx, s, &e); err != nil {
		s.log.WarnContext(ctx, "end of session not written yet", "error", err)
	}
}

// reportEndings writes what noteEnding could not.
func (m *Manager) reportEndings(ctx context.Context) error {
	m.mu.Lock()
	var due []*session
	for _, s := range m.sessions {
		if s.endingNow() != nil {
			due = append(due, s)
		}
	}
	m.mu.Unlock()
	for _, s := range due {
		if e := s.endingNow(); e != nil {
			if err := m.reportEnding(ctx, s, e); err != nil {
				return err
			}
		}
	}
	return nil
}

// reportEnding writes an ending that nobody has written yet.
func (m *Manager) reportEnding(ctx context.Context, s *session, e *ending) error {
	s.reporting.Lock()
	defer s.reporting.Unlock()
	if s.endingNow() != e {
		return nil // somebody has, and the row may say more by now
	}
	if err := m.writeEnding(ctx, s, e); err != nil {
		return err
	}
	s.clearEnding(e)
	return nil
}

func (m *Manager) writeEnding(ctx context.Context, s *session, e *ending) error {
	ctx, cancel := context.WithTimeout(ctx, stateTime)
	defer cancel()
	err := m.opt.Store.End(ctx, s.id, e.epoch, cloudstore.Ending{
		State: e.state, Detail: e.detail, Wanted: e.wanted, Pause: max(0, time.Until(e.until)),
	})
	if err != nil && !errors.Is(err, cloudstore.ErrFenced) { // fenced: it is another term's matter
		return err
	}
	return nil
}

// replaced: a clone of this device logged in and moved its ratchets (O8), so the
// file's Signal state is of no use any more. If the session is this connector's all the same, it
// is taken again, safely, after a pause that grows.
func (m *Manager) replaced(ctx context.Context, s *session, o *opened) {
	const clone = "another client connected with the same keys"
	m.opt.Observer.Replaced()
	if !m.opt.Lease.Valid() {
		m.loseLocked(ctx, s, loss{LossReplaced, clone + ", and this connector's lease has run out"})
		return
	}
	ctx, cancel := context.WithTimeout(logctx.Onto(m.hard, ctx), m.stopTime)
	defer cancel()
	// With a valid lease nobody takes a session from a connector, but marking the
	// database as restored does.
	if owner, err := m.opt.Store.Owner(ctx, s.id); err == nil {
		if what, why := m.standing(owner, o); what == standLost {
			m.loseLocked(ctx, s, why)
			return
		}
	}
	state, detail, wanted := whatsapp.StateReplaced, clone+"; it will be restored", cloudstore.WantedOpen
	if s.cloned(time.Now()) >= contestedAfter {
		state, wanted = StateContested, cloudstore.WantedClosed
		if m.opt.Webhook != nil {
			wanted = cloudstore.WantedRest // if there is none that is found then
		}
		detail = clone + " again and again: stop it, then restore the session"
	}
	m.closeTainted(ctx, s, o, clone) // what is not pushed yet is in the file alone
	s.setState(state, detail)
	m.settleReplaced(ctx, s, o, state, detail, wanted)
}

func (m *Manager) taint(s *session) {
	if err := s.files.taint(); err != nil {
		s.log.Error("session file not marked as stale", "error", err)
	}
}

func (m *Manager) settleReplaced(ctx context.Context, s *session, o *opened, state whatsapp.State, detail, wanted string) {
	e := ending{epoch: o.taken.Epoch, state: string(state), detail: detail, wanted: wanted}
	var err error
	if wanted == cloudstore.WantedOpen {
		err = m.writeEnding(ctx, s, &e)
	} else {
		m.noteEnding(ctx, s, e)
	}
	if !o.local.Load() {
		err = errors.Join(err, m.opt.Store.Release(ctx, s.id, o.taken.Epoch, m.opt.Lease.ConnectorID(), reserveTime, wanted))
	}
	if err != nil {
		// It stays ours: the next sweep takes it again, or compare releases it.
		s.log.WarnContext(ctx, "session not released", "error", err)
	}
}

// finalError is why a session in this state can't be restored; nil for states
// that pass.
func finalError(state whatsapp.State, detail string) error {
	switch state {
	case whatsapp.StateLoggedOut:
		return whatsapp.ErrLoggedOut
	case whatsapp.StateBanned:
		return fmt.Errorf("%w: %s", errBanned, detail)
	case whatsapp.StateOutdated:
		return whatsapp.ErrOutdated
	case whatsapp.StateRefused:
		return fmt.Errorf("%w: %s", errRefused, detail)
	case StateContested:
		return errContested
	}
	if state.Final() {
		return fmt.Errorf("session is %s: %s", state, detail)
	}
	return nil
}
