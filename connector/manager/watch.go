package manager

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cloudsession/connector/replicate"
	"cloudsession/connector/whatsapp"
	"cloudsession/shared/cloudstore"
)

// stateTime bounds one write of a session's state to TiDB.
const stateTime = 5 * time.Second

// onState is told by whatsapp what a session is doing. It must not block.
func (m *Manager) onState(s *session, o *opened, state whatsapp.State, detail string) {
	if cur := s.current(); cur != nil && cur.wa != o.wa {
		return // an earlier term's last words
	}
	s.setState(state, detail)
	select {
	case m.states <- struct{}{}:
	default: // a report is due already
	}
	if state.Final() {
		m.later(func() { m.finish(s, o, state, detail) })
	}
}

// later runs f on the manager's own time, unless the manager is closing.
func (m *Manager) later(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closing {
		m.tasks.Go(f)
	}
}

// finish ends a session that whatsapp says won't come back by itself. The cloud
// copy stays as a restore point; the state tells the operator what to do.
func (m *Manager) finish(s *session, o *opened, state whatsapp.State, detail string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	cur := s.current()
	if cur == nil || cur.wa != o.wa || cur.fresh.Load() {
		return // a pairing ends by itself
	}
	o = cur // a new backup after a DELETE keeps the socket but not the epoch
	if state == whatsapp.StateReplaced {
		m.replaced(s, o)
		return
	}
	s.setOver(true) // also should the database not learn of it now
	ctx, cancel := context.WithTimeout(m.hard, stopTime)
	defer cancel()
	s.log.Warn("session has ended", "state", string(state), "detail", detail)
	if err := m.closeLocked(ctx, s, release{wanted: cloudstore.WantedClosed}); err != nil {
		s.log.Error("close session", "error", err)
	}
}

// replaced: a clone of this device logged in and moved its ratchets (O8), so the
// file is of no use any more. With a valid lease the session is taken again,
// safely, after a pause that grows; without one somebody else owns it.
func (m *Manager) replaced(s *session, o *opened) {
	const why = "another client connected with the same keys"
	if !m.opt.Lease.Valid() {
		m.loseLocked(s, why)
		return
	}
	state, detail, wanted := whatsapp.StateReplaced, why+"; it will be restored", cloudstore.WantedOpen
	if s.cloned(time.Now()) >= contestedAfter {
		state, wanted = StateContested, cloudstore.WantedClosed
		detail = why + " again and again: stop it, then restore the session"
		s.setOver(true)
	}
	if o.local.Load() {
		m.closeTainted(s, o, why)
	} else {
		m.loseLocked(s, why)
	}
	s.setState(state, detail)
	ctx, cancel := context.WithTimeout(m.hard, stopTime)
	defer cancel()
	err := m.opt.Store.SetState(ctx, s.id, o.taken.Epoch, string(state), detail)
	if o.local.Load() {
		err = errors.Join(err, m.opt.Store.SetWanted(ctx, s.id, wanted))
	} else {
		err = errors.Join(err, m.opt.Store.Release(ctx, s.id, o.taken.Epoch, m.opt.Lease.ConnectorID(), reserveTime, wanted))
	}
	if err != nil {
		s.log.Warn("session not released", "error", err)
	}
}

// StateContested is a session that another client with the same keys keeps
// taking over. It stays closed until somebody restores it.
const StateContested whatsapp.State = "contested"

var errContested = errors.New("another client keeps connecting with this session's keys")

// contestedAfter is how many replacements without a quiet time in between make
// a session contested.
const contestedAfter = 4

// mayConnect is asked before each attempt to connect (O9): with a valid lease
// nobody else can have the session; without one the owner row decides.
func (m *Manager) mayConnect(ctx context.Context, s *session) error {
	if m.opt.Lease.Valid() {
		return nil
	}
	owner, err := m.opt.Store.Owner(ctx, s.id)
	if err != nil {
		return fmt.Errorf("ask who owns the session: %w", err)
	}
	if owner.Epoch != s.epochNow() || owner.ConnectorID != m.opt.Lease.ConnectorID() {
		return fmt.Errorf("connect: %w", ErrElsewhere)
	}
	if owner.Failover == cloudstore.FailoverManual {
		return nil // nobody else may take it
	}
	return errors.New("this connector's lease has run out")
}

// watch follows the session's replication until it ends.
func (m *Manager) watch(s *session, o *opened) {
	m.later(func() {
		select {
		case <-m.life.Done():
			return
		case <-o.rep.Done():
		}
		if err := o.rep.Err(); errors.Is(err, replicate.ErrFenced) {
			m.fenced(s, o)
		}
	})
}

// fenced finds out why the log refused a push: the copy was deleted (O10: the
// session goes on locally) or another connector owns the session.
func (m *Manager) fenced(s *session, o *opened) {
	for attempt := 0; ; attempt++ {
		owner, err := m.opt.Store.Owner(m.life, s.id)
		if err == nil {
			if m.deleted(owner, o) {
				o.local.Store(true)
				s.log.Info("cloud copy was deleted: the session goes on locally, a sync makes a new copy")
				return
			}
			m.loseIf(s, o, "another connector took it")
			return
		}
		s.log.Warn("read owner of session", "error", err)
		select {
		case <-m.life.Done():
			return
		case <-time.After(min(firstPause<<min(attempt, 5), longPause)):
		}
	}
}

// reportStates writes changed states to the owner rows until ctx ends. A state
// that can't be written is tried again; the newest one wins.
func (m *Manager) reportStates(ctx context.Context) error {
	retry := time.NewTicker(2 * time.Second)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-m.states:
		case <-retry.C:
		}
		for _, s := range m.held() {
			if err := m.reportState(ctx, s); err != nil {
				m.logUnlessEnding(ctx, "state not written", err)
				break // the database is away: the others would fail as well
			}
		}
	}
}

func (m *Manager) reportState(ctx context.Context, s *session) error {
	s.view.Lock()
	state, detail, due, o := s.state, s.detail, !s.reported, s.open
	s.view.Unlock()
	if !due || o == nil || o.fresh.Load() {
		return nil // a pairing that comes to nothing leaves the row as it was
	}
	ctx, cancel := context.WithTimeout(ctx, stateTime)
	defer cancel()
	err := m.opt.Store.SetState(ctx, s.id, o.taken.Epoch, string(state), detail)
	if err != nil && !errors.Is(err, cloudstore.ErrFenced) {
		return err
	}
	s.view.Lock()
	defer s.view.Unlock()
	s.reported = s.state == state && s.detail == detail
	return nil
}
