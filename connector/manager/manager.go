// Package manager decides which sessions this process holds: it opens them,
// keeps watch over them, carries out the commands that concern them, and closes
// them so that another connector can go on exactly where this one stopped.
package manager

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"cloudsession/connector/ownership"
	"cloudsession/connector/replicate"
	"cloudsession/connector/webhook"
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
	Endpoint   whatsapp.Endpoint   // zero: the real service
	DeviceName string              // shown in the phone's list of linked devices
	Webhook    *webhook.Dispatcher // delivers messages to the application; nil for none
	Traffic    whatsapp.Observer   // is told what passes through the sessions; nil: nobody
	// ProtectTime is how long an incoming message waits for TiDB before it is acknowledged without (A1). Default 2 s.
	ProtectTime time.Duration
	Log         *slog.Logger
	Observer    Observer // nil: nobody
}

// Manager holds the sessions of one connector process.
type Manager struct {
	opt Options
	log *slog.Logger

	owned cloudstore.Owned // only for compare, of the one heartbeat

	mu       sync.Mutex
	sessions map[string]*session
	said     map[string]time.Time // when a failure was last logged
	closing  bool
	over     bool // what was held was listed for the last time: nothing is admitted any more
	tasks    sync.WaitGroup
	life     context.Context // ends when Close begins: nothing new is started
	end      context.CancelFunc
	hard     context.Context // ends when Close's time is over: what must not be cut short hangs on it
	endHard  context.CancelFunc
	states   chan struct{} // some session's state is to be reported

	places    int           // sessions that are about to be opened: they count against the capacity
	draining  atomic.Bool   // takes nothing any more
	drains    chan struct{} // filled by the one Drain that runs
	undrained atomic.Int64  // how often draining was ended
	sweeps    sweeps
	turns     chan struct{} // one for each session that a sweep is opening
	works     works

	baseTime    time.Duration  // less in tests
	finishEvery time.Duration  // less in tests
	stopTime    time.Duration  // more in tests
	grace       whatsapp.Grace // more in tests

	testWithout string // the rule that a test has switched off, to see what goes wrong without it
}

// New returns a manager that holds nothing yet.
func New(opt Options) *Manager {
	opt.Observer = cmp.Or[Observer](opt.Observer, nobody{})
	opt.ProtectTime = cmp.Or(opt.ProtectTime, protectTime)
	m := &Manager{
		opt: opt, log: opt.Log, sessions: map[string]*session{}, said: map[string]time.Time{},
		states: make(chan struct{}, 1), drains: make(chan struct{}, 1), turns: make(chan struct{}, opensAtOnce),
		baseTime: baseTime, finishEvery: finishEvery, stopTime: stopTime,
	}
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
	g.Go(func() error { return m.deriveAhead(ctx) })
	g.Go(func() error { return m.deliverLeftovers(ctx) })
	g.Go(func() error { return m.finishDeletes(ctx) })
	err := g.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (m *Manager) heartbeat(ctx context.Context) error {
	for {
		soon, err := m.beat(ctx)
		if err != nil {
			return err
		}
		every := ownership.RenewEvery
		if soon {
			every = ownership.WatchEvery
		}
		// Jitter keeps many connectors from asking at the same moment.
		wait := every - time.Duration(rand.Int64N(int64(every/10))) //nolint:gosec // jitter, not a secret
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// beat is one heartbeat. Only a lost lease ends the process; everything else is
// logged and tried again at the next one, which is due soon when another
// connector seems to be dying.
func (m *Manager) beat(ctx context.Context) (soon bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, ownership.RenewEvery)
	defer cancel()
	if err := m.opt.Lease.Renew(ctx); errors.Is(err, ownership.ErrLost) {
		return false, err
	} else if err != nil {
		m.logUnlessEnding(ctx, "lease not renewed", err)
		return false, nil
	}
	if soon, err = m.buryDead(ctx); err != nil {
		m.logUnlessEnding(ctx, "heartbeat: bury dead connectors", err)
	}
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"compare held sessions with the owner rows", m.compare},
		{"look for commands", m.pollCommands},
		{"look for sessions to open", m.sweep},
	} {
		if err := step.do(ctx); err != nil {
			m.logUnlessEnding(ctx, "heartbeat: "+step.what, err)
		}
	}
	return soon, nil
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
		m.log.WarnContext(ctx, msg, "error", err)
	}
}

func (m *Manager) buryDead(ctx context.Context) (dying bool, err error) {
	buried, dying, err := m.opt.Lease.BuryDead(ctx)
	for _, id := range buried {
		m.log.Warn("connector is dead", "connector", id)
	}
	return dying, err
}

// compare closes sessions that this process holds and the owner rows give to
// somebody else, releases those that it owns, but neither holds nor is to open,
// and opens the rest of those (O7).
func (m *Manager) compare(ctx context.Context) error {
	held := m.held() // before the rows are read: what is taken meanwhile is no loss
	owned, err := m.opt.Store.RefreshOwned(ctx, m.opt.Lease.ConnectorID(), m.owned)
	if err != nil {
		return err
	}
	m.owned = owned
	epochs := make(map[string]uint64, len(owned.Rows))
	for _, r := range owned.Rows {
		epochs[r.SessionID] = r.Epoch
		m.noteOwned(r)
		m.openOwned(r)
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

// background runs f on the manager's own time, unless the session is open
// already, failing, over, or under way: then it returns false. Close waits for f.
func (m *Manager) background(id string, f func(ctx context.Context)) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closing {
		return false
	}
	s := m.entryLocked(id)
	if s.current() != nil || s.resting(time.Now()) || s.ended() || !s.claimBackground() {
		return false
	}
	m.tasks.Go(func() {
		defer s.releaseBackground()
		f(m.life)
	})
	return true
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

// admit makes o the session's current state. Once the sessions to be closed at the
// end were counted nobody would close this one: it is given back, and ErrClosing.
func (m *Manager) admit(ctx context.Context, s *session, o *opened) error {
	if m.hold(s, o) {
		return nil
	}
	err := errors.Join(ErrClosing, o.shut())
	m.giveBack(ctx, s, o.taken, o.own, err)
	return err
}

func (m *Manager) hold(s *session, o *opened) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.over {
		return false
	}
	s.setCurrent(o)
	return true
}

// heldAtEnd returns the sessions that are open here, and admits no other.
func (m *Manager) heldAtEnd() []*session {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.over = true
	return m.heldLocked()
}

// held returns the sessions that are open here.
func (m *Manager) held() []*session {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.heldLocked()
}

func (m *Manager) heldLocked() []*session {
	var out []*session
	for _, s := range m.sessions {
		if s.epochNow() != 0 {
			out = append(out, s)
		}
	}
	return out
}
