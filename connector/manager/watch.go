package manager

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cloudsession/connector/ownership"
	"cloudsession/connector/replicate"
	"cloudsession/connector/whatsapp"
	"cloudsession/shared/cloudstore"
)

// stateTime bounds one write of a session's state to TiDB.
const stateTime = 5 * time.Second

// onState is told by whatsapp what a session is doing. It must not block.
func (m *Manager) onState(s *session, o *opened, state whatsapp.State, detail string) {
	if cur := s.current(); cur != nil && cur.wa != o.wa || o.leaving {
		return // an earlier term's last words, or those of one that never had a socket
	}
	s.setState(state, detail)
	select {
	case m.states <- struct{}{}:
	default: // a report is due already
	}
	if state.Final() {
		m.later(func() {
			if state == whatsapp.StateReplaced {
				m.taint(s) // at once: should this process die, the next one must not go on with the file
			}
			m.finish(s, o, state, detail)
		})
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

// mayConnect is asked before each attempt to connect (O9). With a valid lease
// nobody else can have the session. Without one the owner row decides, and while
// that can't be read the attempt waits: TiDB's return ends the wait at once. A
// session that nobody takes unasked need not wait.
func (m *Manager) mayConnect(ctx context.Context, s *session) error {
	for waiting := ""; ; {
		why, err := m.mustWait(ctx, s)
		if why == "" || err != nil {
			return err
		}
		if why != waiting {
			waiting = why
			s.setState(whatsapp.StateDisconnected, "not connecting: "+why)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the lease: %w", ctx.Err())
		case <-time.After(ownership.RenewEvery / 10):
		}
	}
}

// mustWait says why the session may not connect yet, "" if it may; an error
// means that it never may.
func (m *Manager) mustWait(ctx context.Context, s *session) (why string, err error) {
	o := s.current()
	switch {
	case o == nil:
		return "", fmt.Errorf("connect: %w", ErrNotOpen)
	case o.fenced():
		return "its log was ended elsewhere, and it is being found out by whom", nil
	case m.opt.Lease.Valid() || s.failoverNow() == cloudstore.FailoverManual:
		return "", nil
	}
	ctx, cancel := context.WithTimeout(ctx, stateTime)
	defer cancel()
	owner, err := m.opt.Store.Owner(ctx, s.id)
	if err != nil {
		return "this connector's lease has run out, and TiDB can't be asked who owns the session", nil //nolint:nilerr // asked again
	}
	switch what, loss := m.standing(owner, o); {
	case what == standLost:
		m.later(func() { m.loseIf(s, o, loss) })
		return "", fmt.Errorf("connect: %w", ErrElsewhere)
	case owner.Failover == cloudstore.FailoverManual:
		return "", nil
	}
	// TiDB is there: the next heartbeat renews the lease, or finds it lost.
	return "this connector's lease has run out", nil
}

// watch follows the session's replication until it ends.
func (m *Manager) watch(s *session, o *opened) {
	m.later(func() {
		select {
		case <-m.life.Done():
			return
		case <-o.rep.Done():
		}
		switch err := o.rep.Err(); {
		case errors.Is(err, replicate.ErrFenced):
			m.fenced(s, o)
		case err != nil && !errors.Is(err, replicate.ErrSealed) && !errors.Is(err, replicate.ErrClosed):
			m.reopen(s, o, err)
		}
	})
}

// reopen closes a session whose changes can't be pushed any more, for a reason of
// this machine's: it would refuse messages for ever. It stays this connector's,
// and the next heartbeats open it again, which judges what its file is worth.
func (m *Manager) reopen(s *session, o *opened, cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current() != o {
		return
	}
	s.log.Error("session closed, to be opened again: its changes can't be pushed", "error", cause)
	s.shutToReopen(o)
	s.failed(time.Now())
}

// shutToReopen closes a session that stays this connector's: the next heartbeat that
// finds it so opens its file. s.mu is held.
func (s *session) shutToReopen(o *opened) {
	s.setCurrent(nil)
	if err := o.shut(); err != nil {
		s.log.Warn("session did not close in order", "error", err)
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
		if err := errors.Join(m.reportAll(ctx), m.reportEndings(ctx)); err != nil {
			m.logUnlessEnding(ctx, "state not written", err)
		}
	}
}

// reportAll stops at the first failure: the database is away, and the others
// would fail as well.
func (m *Manager) reportAll(ctx context.Context) error {
	for _, s := range m.held() {
		if err := m.reportState(ctx, s); err != nil {
			return err
		}
	}
	return nil
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
