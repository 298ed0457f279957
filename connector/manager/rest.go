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

// opensByItself reports whether a heartbeat is to open a session with this owner
// row: to connect it, or to deliver what the application has not taken of it.
func (m *Manager) opensByItself(o cloudstore.Owner) bool {
	return o.Wanted == cloudstore.WantedOpen || o.Wanted == cloudstore.WantedRest && m.opt.Webhook != nil
}

// wantedAfter says what is to become of a session that has ended for good and whose
// file is still open. If that can't be read there may be something to deliver.
func (m *Manager) wantedAfter(ctx context.Context, s *session, o *opened) string {
	if m.opt.Webhook == nil {
		return cloudstore.WantedClosed
	}
	list, err := inbox.New(o.file.DB(), inbox.Options{}).Undelivered(ctx, 0, 1)
	if err != nil {
		s.log.WarnContext(ctx, "undelivered messages not counted", "error", err)
	}
	if err == nil && len(list) == 0 {
		return cloudstore.WantedClosed
	}
	return cloudstore.WantedRest
}

// openRest holds a session that has ended until the application has taken what is
// left of it: without a socket, and in the state that it ended with.
func (m *Manager) openRest(ctx context.Context, s *session, o *opened) error {
	owner := o.taken.Parent.Owner
	o.leaving = true
	s.setFailover(owner.Failover)
	s.setState(whatsapp.State(owner.State), owner.StateDetail)
	m.deliver(s, o)
	if err := m.admit(ctx, s, o); err != nil {
		return err
	}
	s.log.InfoContext(ctx, "session has ended: it is held to deliver what the application has not taken", "epoch", o.taken.Epoch)
	o.rep.Changed()
	m.watch(s, o)
	m.later(func() { m.awaitRest(s, o) })
	return nil
}

// awaitRest closes the session once nothing is left to deliver of it.
func (m *Manager) awaitRest(s *session, o *opened) {
	var delivered <-chan struct{} // never, without a webhook
	if o.delivery != nil {
		delivered = o.delivery.queue.Done()
	}
	select {
	case <-m.life.Done():
		return
	case <-o.gone:
		return
	case <-delivered:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current() != o {
		return
	}
	if err := m.closeInTime(m.life, s, release{wanted: cloudstore.WantedClosed, forGood: true}); err != nil {
		s.failed(time.Now()) // the heartbeats go on with it
		m.logUnlessEnding(m.life, "session not released", err)
	}
}

// endRest closes a session that is held only for its rest, because somebody asks
// for more than that.
func (m *Manager) endRest(ctx context.Context, s *session) error {
	if o := s.current(); o == nil || !o.rest {
		return nil
	}
	return m.closeInTime(ctx, s, release{reserveFor: m.opt.Lease.ConnectorID(), wanted: cloudstore.WantedRest})
}

// restAside leaves what the application has not taken of a session that has ended to
// be delivered from a file that is set aside here: another identity, or another state,
// is about to take the session's place, and its log is not read any more.
func (m *Manager) restAside(ctx context.Context, s *session, always bool) error {
	if err := m.endRest(ctx, s); err != nil {
		return err
	}
	if m.opt.Webhook == nil || s.current() != nil {
		return nil
	}
	owner, err := m.opt.Store.Owner(ctx, s.id)
	if errors.Is(err, cloudstore.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read owner of session: %w", err)
	}
	state := whatsapp.State(owner.State)
	if owner.Wanted != cloudstore.WantedRest || state != whatsapp.StateLoggedOut && !always {
		return nil
	}
	err = m.closeUnopened(ctx, s, openRequest{reason: "rest set aside", byCommand: true, keepWanted: true},
		release{wanted: cloudstore.WantedClosed, forGood: true}, state, owner.StateDetail)
	if errors.Is(err, ErrNoSession) { // its copy was deleted, and nobody has its file
		return nil
	}
	if err != nil {
		return fmt.Errorf("set aside what is left to deliver of the session that has ended: %w", err)
	}
	return nil
}
