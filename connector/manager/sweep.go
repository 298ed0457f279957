package manager

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"cloudsession/connector/ownership"
	"cloudsession/connector/whatsapp"
	"cloudsession/shared/cloudstore"
)

const (
	// sweepLimit bounds what one sweep looks at; the next one sees the rest.
	sweepLimit = 4096
	// opensAtOnce bounds how many sessions a sweep opens at the same time: taking
	// and restoring one is some round trips and some 20 ms of work.
	opensAtOnce = 16
)

// sweeps is what sweeps remember from one to the next.
type sweeps struct {
	mu    sync.Mutex
	share ownership.Share
	begun time.Time

	// resting counts the sessions of this connector that rest after a failure, as
	// the comparison before the sweep found them: their places stay theirs. Only the
	// heartbeat uses it.
	resting int
}

// sweep opens this connector's share of the sessions that nobody holds (O3).
func (m *Manager) sweep(ctx context.Context) error {
	free := m.free() - m.sweeps.resting
	m.sweeps.resting = 0
	if m.draining.Load() {
		return nil
	}
	owners, err := m.opt.Store.Takeable(ctx, m.opt.Lease.ConnectorID(), sweepLimit)
	if err != nil {
		return err
	}
	owners = slices.DeleteFunc(owners, func(o cloudstore.Owner) bool { return !m.opensByItself(o) })
	var peers []ownership.Peer
	if len(owners) > 0 {
		if peers, err = m.peers(ctx); err != nil {
			return err
		}
	}
	rows := make(map[string]cloudstore.Owner, len(owners))
	for _, o := range owners {
		rows[o.SessionID] = o
	}
	chosen := m.chooseShare(free, peers, owners)
	rand.Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] }) //nolint:gosec // spreads load, not a secret
	for _, id := range chosen {
		m.openLater(rows[id])
	}
	return nil
}

// peers are the connectors that sweep, as their rows show them.
func (m *Manager) peers(ctx context.Context) (peers []ownership.Peer, err error) {
	all, err := m.opt.Store.Connectors(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range all {
		if c.Live && !c.Draining {
			peers = append(peers, ownership.Peer{ID: c.ID, Free: freeOf(c)})
		}
	}
	return peers, nil
}

// unlimited is the free capacity of a connector without a limit.
const unlimited = 1 << 20

func freeOf(c cloudstore.Connector) int {
	if c.Capacity <= 0 {
		return unlimited
	}
	return max(0, c.Capacity-c.Sessions)
}

func (m *Manager) chooseShare(free int, peers []ownership.Peer, owners []cloudstore.Owner) []string {
	self, now := m.opt.Lease.ConnectorID(), time.Now()
	candidates := make([]ownership.Candidate, 0, len(owners))
	for _, o := range owners {
		candidates = append(candidates, ownership.Candidate{
			SessionID: o.SessionID, Reserved: o.ReservedFor == self, Underway: !m.idle(o.SessionID, now),
		})
	}
	m.sweeps.mu.Lock()
	defer m.sweeps.mu.Unlock()
	if m.sweeps.begun.IsZero() {
		m.sweeps.begun = now
	}
	return m.sweeps.share.Choose(now.Sub(m.sweeps.begun), self, free, peers, candidates)
}

// stillFree reports whether the last sweep saw the session without a holder.
func (m *Manager) stillFree(id string) bool {
	m.sweeps.mu.Lock()
	defer m.sweeps.mu.Unlock()
	return m.sweeps.share.Free(id)
}

// idle reports whether background work on a session may begin: it isn't open,
// failing, over, or under way.
func (m *Manager) idle(id string, now time.Time) bool {
	m.mu.Lock()
	s, known := m.sessions[id]
	m.mu.Unlock()
	return !known || s.current() == nil && !s.resting(now) && !s.ended() && !s.busy()
}

// openLater opens a session that nobody holds, or that is this connector's and
// isn't open, when its turn comes. It has its place from now on. One of its own for
// which there is no place is given up.
func (m *Manager) openLater(o cloudstore.Owner) {
	own, do := o.ConnectorID == m.opt.Lease.ConnectorID(), m.openSwept
	leave, err := m.enter(own)
	if err != nil {
		if !own || o.Backup == cloudstore.BackupOff {
			return
		}
		do, leave = m.giveUp, func() {}
	}
	if !m.background(o.SessionID, func(ctx context.Context) {
		defer leave()
		select {
		case m.turns <- struct{}{}:
		case <-ctx.Done():
			return
		}
		defer func() { <-m.turns }()
		if own || m.stillFree(o.SessionID) {
			do(ctx, o)
		}
	}) {
		leave()
	}
}

func (m *Manager) openSwept(ctx context.Context, o cloudstore.Owner) {
	_, err := m.openPlaced(ctx, o.SessionID, reasonSweep)
	m.noteUnopened(ctx, o, err)
}

// noteUnopened notes why a session that nobody asked for by name was not opened.
func (m *Manager) noteUnopened(ctx context.Context, o cloudstore.Owner, err error) {
	switch {
	case err == nil || errors.Is(err, ErrElsewhere) || errors.Is(err, errBanned) || ctx.Err() != nil:
	case errors.Is(err, ErrNoSession) && o.ConnectorID == m.opt.Lease.ConnectorID():
		// A pairing that never came to a link: there is nothing to open.
		if err := m.opt.Store.SetWanted(ctx, o.SessionID, cloudstore.WantedClosed); err != nil {
			m.log.Warn("session not closed", "session", o.SessionID, "error", err)
		}
	default:
		m.log.Error("open session", "session", o.SessionID, "error", err)
	}
}

// openOwned opens a session that the owner row gives to this connector and that
// isn't open here (O7): an earlier process held it, or closing it did not work.
func (m *Manager) openOwned(o cloudstore.Owner) {
	now := time.Now()
	switch {
	case !m.opensByItself(o) || !now.After(o.NotBefore):
	case m.idle(o.SessionID, now):
		m.openLater(o)
	case m.rests(o.SessionID, now):
		m.sweeps.resting++
	}
}

// rests reports whether a session isn't open, and not about to be, only because
// the last attempt failed a moment ago.
func (m *Manager) rests(id string, now time.Time) bool {
	m.mu.Lock()
	s, known := m.sessions[id]
	m.mu.Unlock()
	return known && s.current() == nil && s.resting(now) && !s.ended() && !s.busy()
}

// giveUp frees a session that is this connector's, isn't open and has no place
// here any more (O7): its capacity was lowered, or the place taken meanwhile.
func (m *Manager) giveUp(ctx context.Context, o cloudstore.Owner) {
	s, err := m.entry(o.SessionID)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current() != nil {
		return
	}
	err = m.closeUnopened(ctx, s, openRequest{reason: "no place"}, release{wanted: cloudstore.WantedOpen}, whatsapp.StateStopped, "")
	if err != nil {
		s.failed(time.Now())
		m.noteUnopened(ctx, o, fmt.Errorf("give it up, for this connector is full: %w", err))
		return
	}
	s.log.Warn("session released: this connector is full")
}
