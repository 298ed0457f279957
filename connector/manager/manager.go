// Package manager decides which sessions this process holds: it opens them,
// keeps watch over them, carries out the commands that concern them, and closes
// them so that another connector can go on exactly where this one stopped.
package manager

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"cloudsession/connector/ownership"
	"cloudsession/connector/replicate"
	"cloudsession/connector/whatsapp"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/command"
	"cloudsession/shared/envelope"
)

// Errors a caller decides on. The API maps their codes (see codeOf) to statuses.
var (
	// ErrNoSession: neither this machine nor the cloud has such a session. Only
	// a clean answer of the database leads here.
	ErrNoSession = errors.New("no such session in the cloud")
	// ErrNotOpen: this connector does not hold the session.
	ErrNotOpen = errors.New("session is not open on this connector")
	// ErrElsewhere: another live connector holds the session.
	ErrElsewhere = errors.New("session is held by another connector")
	// ErrPaired: pairing was asked for a session that is already linked.
	ErrPaired = errors.New("session is already linked to a phone")
	// ErrFull: this connector holds as many sessions as it may.
	ErrFull = errors.New("connector is full")
	// ErrClosing: the connector is stopping.
	ErrClosing = errors.New("connector is stopping")
)

// Options configures a Manager. All fields are required unless said otherwise.
type Options struct {
	DataDir    string
	Store      *cloudstore.Store
	Keys       *envelope.Keyring
	Lease      *ownership.Lease
	Replicator *replicate.Replicator
	Queue      command.Queue
	QueueName  string
	Capacity   int
	Endpoint   whatsapp.Endpoint // zero: the real service
	DeviceName string            // shown in the phone's list of linked devices
	Log        *slog.Logger
}

// Manager holds the sessions of one connector process.
type Manager struct {
	opt Options
	log *slog.Logger

	mu       sync.Mutex
	sessions map[string]*session
	said     map[string]time.Time // when a failure was last logged
	closing  bool
	tasks    sync.WaitGroup
	life     context.Context // ends when Close begins: nothing new is started
	end      context.CancelFunc
	hard     context.Context // ends when Close's time is over: what must not be cut short hangs on it
	endHard  context.CancelFunc
	states   chan struct{} // some session's state is to be reported
}

// New returns a manager that holds nothing yet.
func New(opt Options) *Manager {
	m := &Manager{opt: opt, log: opt.Log, sessions: map[string]*session{}, said: map[string]time.Time{}, states: make(chan struct{}, 1)}
	m.life, m.end = context.WithCancel(context.Background())
	m.hard, m.endHard = context.WithCancel(context.Background())
	return m
}

// Run renews the lease, carries out commands and sweeps for sessions to open,
// until ctx ends (nil) or the lease is lost (ownership.ErrLost). The caller
// then calls Close.
func (m *Manager) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return m.heartbeat(ctx) })
	g.Go(func() error { return m.receiveCommands(ctx) })
	g.Go(func() error { return m.reportStates(ctx) })
	err := g.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (m *Manager) heartbeat(ctx context.Context) error {
	for {
		if err := m.beat(ctx); err != nil {
			return err
		}
		// Jitter keeps many connectors from asking at the same moment.
		wait := ownership.RenewEvery - time.Duration(rand.Int64N(int64(ownership.RenewEvery/10))) //nolint:gosec // jitter, not a secret
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// beat is one heartbeat. Only a lost lease ends the process; everything else is
// logged and tried again at the next one.
func (m *Manager) beat(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, ownership.RenewEvery)
	defer cancel()
	if err := m.opt.Lease.Renew(ctx); errors.Is(err, ownership.ErrLost) {
		return err
	} else if err != nil {
		m.logUnlessEnding(ctx, "lease not renewed", err)
		return nil
	}
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"bury dead connectors", m.buryDead},
		{"compare held sessions with the owner rows", m.compare},
		{"look for commands", m.pollCommands},
		{"look for sessions to open", m.sweep},
	} {
		if err := step.do(ctx); err != nil {
			m.logUnlessEnding(ctx, "heartbeat: "+step.what, err)
		}
	}
	return nil
}

// quietFor is how long a failure that repeats is not logged again: while TiDB is
// away every heartbeat fails alike.
const quietFor = time.Minute

// logUnlessEnding logs a failure that will be tried again, unless ctx was ended
// on purpose or the same was said a moment ago.
func (m *Manager) logUnlessEnding(ctx context.Context, msg string, err error) {
	if errors.Is(ctx.Err(), context.Canceled) {
		return
	}
	m.mu.Lock()
	said, now := m.said[msg], time.Now()
	again := now.Sub(said) >= quietFor
	if again {
		m.said[msg] = now
	}
	m.mu.Unlock()
	if again {
		m.log.Warn(msg, "error", err)
	}
}

func (m *Manager) buryDead(ctx context.Context) error {
	buried, err := m.opt.Lease.BuryDead(ctx)
	for _, id := range buried {
		m.log.Warn("connector is dead", "connector", id)
	}
	return err
}

// compare closes sessions that this process holds and the owner rows give to
// somebody else (O7).
func (m *Manager) compare(ctx context.Context) error {
	held := m.held() // before the rows are read: what is taken meanwhile is no loss
	rows, err := m.opt.Store.OwnersOf(ctx, m.opt.Lease.ConnectorID())
	if err != nil {
		return err
	}
	epochs := make(map[string]uint64, len(rows))
	for _, r := range rows {
		epochs[r.SessionID] = r.Epoch
	}
	for _, s := range held {
		o := s.current()
		if o == nil || epochs[s.id] == o.taken.Epoch {
			continue
		}
		// Not here: the session may be busy for long, and a heartbeat must not wait.
		m.later(func() { m.confirmLoss(s, o) })
	}
	return nil
}

// confirmLoss looks at the owner row once more before a session is given up.
func (m *Manager) confirmLoss(s *session, o *opened) {
	ctx, cancel := context.WithTimeout(m.life, stateTime)
	defer cancel()
	owner, err := m.opt.Store.Owner(ctx, s.id)
	if err != nil {
		m.logUnlessEnding(m.life, "read owner of session", err)
		return
	}
	// A later epoch of this connector is its own take whose answer was lost.
	if owner.Epoch > o.taken.Epoch && owner.ConnectorID != m.opt.Lease.ConnectorID() {
		m.loseIf(s, o, "another connector took it")
	}
}

// sweep opens the sessions that want to be open and that this connector may
// take (O3), a few at a time and in random order.
func (m *Manager) sweep(ctx context.Context) error {
	const atOnce = 20
	// Those held already come first in the answer.
	owners, err := m.opt.Store.Takeable(ctx, m.opt.Lease.ConnectorID(), m.count()+atOnce)
	if err != nil {
		return err
	}
	rand.Shuffle(len(owners), func(i, j int) { owners[i], owners[j] = owners[j], owners[i] }) //nolint:gosec // spreads load, not a secret
	for _, o := range owners {
		id := o.SessionID
		if m.count() >= m.opt.Capacity {
			return nil
		}
		m.background(id, func(ctx context.Context) { m.openSwept(ctx, o) })
	}
	return nil
}

func (m *Manager) openSwept(ctx context.Context, o cloudstore.Owner) {
	_, err := m.Open(ctx, o.SessionID, reasonSweep)
	switch {
	case err == nil || errors.Is(err, ErrElsewhere) || ctx.Err() != nil:
	case errors.Is(err, ErrNoSession) && o.ConnectorID == m.opt.Lease.ConnectorID():
		// A pairing that never came to a link: there is nothing to open.
		if err := m.opt.Store.SetWanted(ctx, o.SessionID, cloudstore.WantedClosed); err != nil {
			m.log.Warn("session not closed", "session", o.SessionID, "error", err)
		}
	default:
		m.log.Error("open session", "session", o.SessionID, "error", err)
	}
}

// background runs f on the manager's own time. Close waits for it.
func (m *Manager) background(id string, f func(ctx context.Context)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closing {
		return
	}
	s := m.entryLocked(id)
	if s.current() != nil || s.resting(time.Now()) || s.ended() || !s.claimBackground() {
		return // open already, failing, over, or under way
	}
	m.tasks.Go(func() {
		defer s.releaseBackground()
		f(m.life)
	})
}

// entryLocked returns the session's entry, made on first use. Entries are few
// and small, and keep their lock: they stay for the life of the process.
func (m *Manager) entryLocked(id string) *session {
	s, ok := m.sessions[id]
	if !ok {
		s = &session{id: id, files: filesOf(m.opt.DataDir, id), log: m.log.With("session", id)}
		m.sessions[id] = s
	}
	return s
}

func (m *Manager) entry(id string) (*session, error) {
	if err := cloudstore.ValidateSessionID(id); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closing {
		return nil, ErrClosing
	}
	return m.entryLocked(id), nil
}

// held returns the sessions that are open here.
func (m *Manager) held() []*session {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []*session
	for _, s := range m.sessions {
		if s.epochNow() != 0 {
			out = append(out, s)
		}
	}
	return out
}

func (m *Manager) count() int { return len(m.held()) }

// Load reports how busy this connector is, for its row in TiDB.
func (m *Manager) Load() cloudstore.Load {
	return cloudstore.Load{Capacity: m.opt.Capacity, Sessions: m.count()}
}
