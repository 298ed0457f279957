package manager

import (
	"errors"

	"cloudsession/shared/cloudstore"
)

// ErrDraining means that the connector takes no sessions any more.
var ErrDraining = errors.New("connector is draining: `connector drain --stop` ends that")

// enter gives a session that is about to be opened a place, so that those opened
// at the same time don't exceed the capacity together. leave gives the place
// back once the session is open, and counted as such, or isn't to be opened. own
// says that the session is this connector's already: draining doesn't keep it
// from being opened again. It returns ErrFull or ErrDraining.
func (m *Manager) enter(own bool) (leave func(), err error) {
	if m.draining.Load() && !own {
		return nil, ErrDraining
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.takenLocked() >= m.opt.Capacity {
		return nil, ErrFull
	}
	return m.holdLocked(&m.places), nil
}

// keep holds the place of a session that is open while it is closed and opened
// again: one place, whether it is open or not.
func (m *Manager) keep(s *session) (leave func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.holdLocked(&s.kept)
}

// placeOf gives a session that is to be opened anew a place before it is closed for
// that: its own if it is open, else one as by enter.
func (m *Manager) placeOf(s *session) (leave func(), err error) {
	if s.current() != nil {
		return m.keep(s), nil
	}
	return m.enter(false)
}

// placeFor is placeOf for a session that is to be opened: one that is held only for
// its rest has its place already.
func (m *Manager) placeFor(s *session) (leave func(), err error) {
	if o := s.current(); o != nil && o.rest {
		return m.keep(s), nil
	}
	return m.enter(false)
}

// holdLocked counts one more until leave is called.
func (m *Manager) holdLocked(n *int) (leave func()) {
	*n++
	left := false
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if !left {
			left = true
			*n--
		}
	}
}

// takenLocked counts the sessions that are open and those about to be, each once.
func (m *Manager) takenLocked() int {
	n := m.places
	for _, s := range m.sessions {
		if s.epochNow() != 0 || s.kept > 0 {
			n++
		}
	}
	return n
}

func (m *Manager) taken() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.takenLocked()
}

// free is how many more sessions this connector may open.
func (m *Manager) free() int { return max(0, m.opt.Capacity-m.taken()) }

// Load reports how busy this connector is, for its row in TiDB.
func (m *Manager) Load() cloudstore.Load {
	return cloudstore.Load{Capacity: m.opt.Capacity, Sessions: m.taken(), Draining: m.draining.Load(), SyncLag: m.SyncLag()}
}
