package whatsapp

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/store/sqlstore"
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/types/events"

	"cloudsession/connector/inbox"
)

// SessionFile is what a session needs of its file: connector/capture's *File.
type SessionFile interface {
	// DB is the handle to use. Its transactions begin immediate, and foreign keys are on.
	DB() *sql.DB
	// Install puts capture's triggers on every table; it runs after each upgrade of the schema.
	Install(ctx context.Context) (schemaChanged bool, err error)
}

// Config is a session's configuration.
type Config struct {
	// SessionID names the session in logs.
	SessionID string
	// File is the session file. The caller closes it, after Stop (W5).
	File SessionFile
	// Endpoint is the service; the zero value is the real one.
	Endpoint Endpoint
	// Log receives the session's own lines and whatsmeow's warnings, without contents, keys and phone numbers.
	// slog.Default() when nil.
	Log *slog.Logger
	// Inbox is the file's inbox; made by Open when nil.
	Inbox *inbox.Inbox
	// OnState is told every change of state, in order. It must not block and must not call the session.
	OnState func(State, string)
	// MayConnect, when set, is asked before each attempt to connect (O9). An error delays the attempt.
	MayConnect func(context.Context) error
	// Durable, when set, is asked before a message that was stored is acknowledged (A1). nil says that what the file
	// holds by now would survive the loss of this machine, or that waiting for it is of no use. An error says that
	// the session is somebody else's or is ending: the message is not acknowledged, and comes again. ctx ends when the
	// session stops or the application has the message. While Durable waits, nothing else that the service sends is
	// handled, so it has to bound its wait. Without it a message is acknowledged once it is in the session file.
	Durable func(ctx context.Context) error
	// Kept, when set, is asked before the caller of a send is told that it will be repeated. nil says that TiDB has what
	// the file holds by now; an error, that this isn't known, or that there is no copy. Without it the promise is
	// never made for more than this machine.
	Kept func(ctx context.Context) error
	// DeviceName is what the phone shows for a newly linked device; "Cloud Session Sync" when empty. whatsmeow keeps
	// it for the whole process: the first session's counts.
	DeviceName string
	// Observer is told what passes through the session, for metrics. Nobody when nil.
	Observer Observer
	// Grace is how long the session waits at its end. The zero value is meant for programs; tests that a busy machine
	// must not fail have more.
	Grace Grace
	// Debug lets whatsmeow's debug lines through, unfiltered: whole stanzas, with phone numbers and QR contents.
	Debug bool
}

// Session is one live session. Its methods may be called at the same time.
//
// The order is Open; PrepareSafe for a safe start; Connect or Pair, once; Stop. After Stop, or after a final state,
// a new start needs a new Session.
type Session struct {
	cfg           Config
	log           *slog.Logger
	inbox         *inbox.Inbox
	container     *sqlstore.Container
	device        *store.Device // whatsmeow writes to it without a lock when the device is unlinked: read it with care
	guard         *guard
	cli           *whatsmeow.Client
	schemaChanged bool
	qr            qrTimes // phonesTake; tests shorten it before Pair

	ctx    context.Context // ends when the session stops
	cancel context.CancelFunc
	tasks  sync.WaitGroup // the session's own goroutines

	mail     *mailbox
	handlers *gate
	sends    *gate
	stopped  chan struct{} // closed when Stop begins
	hungUp   chan struct{} // closed when Stop has closed the socket
	dialling atomic.Bool   // a connection is being made; see dial

	announce sync.Mutex // keeps OnState's calls in order; taken before mu

	mu         sync.Mutex
	behalf     context.Context //nolint:containedctx // only for log lines: whoever had it connect, until it is live
	state      State
	detail     string
	paired     bool
	started    bool
	ending     bool
	finalErr   error
	own        ownAddresses
	ready      chan struct{} // closed while messages can flow
	dropped    chan struct{} // closed once they can't any more; of the newest connection on which they could
	over       chan struct{} // closed once the state is final
	safe       safeStart
	unread     unread
	finishing  bool // finishSafe is running
	deliveries map[string]*delivery
	panics     map[types.MessageID]int

	historyLock sync.Mutex

	testMessage func(*events.Message) error       // called first for each message; tests make it fail or panic
	testPause   func(time.Duration) time.Duration // told each pause before a connection; returns what is slept instead
}

// ownAddresses are the device's, with its device number.
type ownAddresses struct{ pn, lid types.JID }

// Open prepares a session over its file: upgrades whatsmeow's tables, creates the inbox's, installs capture's triggers
// and the guards. It opens no socket. ctx is for opening only.
func Open(ctx context.Context, cfg Config) (*Session, error) {
	if err := cfg.Endpoint.check(); err != nil {
		return nil, err
	}
	silenceSignal()
	cfg.Log = cmp.Or(cfg.Log, slog.Default())
	cfg.Observer = cmp.Or[Observer](cfg.Observer, nobody{})
	cfg.Grace = cfg.Grace.complete()
	s := &Session{
		cfg: cfg, log: cfg.Log.With("session", cfg.SessionID), behalf: context.Background(),
		mail: newMailbox(), handlers: newGate(), sends: newGate(),
		stopped: make(chan struct{}), hungUp: make(chan struct{}),
		ready: make(chan struct{}), over: make(chan struct{}),
		deliveries: make(map[string]*delivery), qr: phonesTake,
	}
	if err := s.openStore(ctx); err != nil {
		return nil, err
	}
	if err := cfg.Endpoint.trustRoot(); err != nil {
		return nil, err
	}
	if err := s.loadSafeStart(ctx); err != nil {
		return nil, err
	}
	if err := s.loadUnread(ctx); err != nil {
		return nil, err
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.newClient()
	return s, nil
}

func (s *Session) openStore(ctx context.Context) error {
	db := s.cfg.File.DB()
	if err := inbox.Migrate(ctx, db); err != nil {
		return err
	}
	s.container = sqlstore.NewWithDB(db, "sqlite3", s.adapter("Store"))
	if err := s.container.Upgrade(ctx); err != nil {
		return fmt.Errorf("upgrade session file: %w", err)
	}
	changed, err := s.cfg.File.Install(ctx)
	if err != nil {
		return fmt.Errorf("install triggers: %w", err)
	}
	s.schemaChanged = changed
	s.inbox = s.cfg.Inbox
	if s.inbox == nil {
		s.inbox = inbox.New(db, inbox.Options{})
	}
	devices, err := s.container.GetAllDevices(ctx)
	if err != nil {
		return fmt.Errorf("read device: %w", err)
	}
	switch len(devices) {
	case 0:
		s.device, s.state = s.container.NewDevice(), StateUnpaired
	case 1:
		s.device, s.state, s.paired = devices[0], StateStopped, true
	default:
		return fmt.Errorf("read device: the file holds %d devices instead of one", len(devices))
	}
	s.own = ownAddresses{pn: s.device.GetJID(), lid: s.device.GetLID()}
	s.guard = &guard{log: s.log, reset: s.reset, turn: newTurn()}
	s.guard.linked.Store(s.paired)
	s.guard.install(s.device, s.container)
	return nil
}

// SchemaChanged tells whether opening changed captured tables: the next push must then be a base (C1).
func (s *Session) SchemaChanged() bool { return s.schemaChanged }

// Inbox returns the session's inbox.
func (s *Session) Inbox() *inbox.Inbox { return s.inbox }

// Paired tells whether the file holds a device. It does after a logout, too.
func (s *Session) Paired() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.paired
}

// State returns what the session is doing, and a sentence about it that may be empty.
func (s *Session) State() (State, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state, s.detail
}

// setState changes the state, unless it is final already, and tells OnState.
func (s *Session) setState(state State, detail string) {
	s.announce.Lock()
	defer s.announce.Unlock()
	s.mu.Lock()
	tell := s.enterState(state, detail)
	s.mu.Unlock()
	tell()
}

// enterState changes the state, unless it is final already. Session.announce and Session.mu are held; tell is to be
// called with announce alone.
func (s *Session) enterState(state State, detail string) (tell func()) {
	same := s.state == state && s.detail == detail
	closed := s.finalErr != nil && !state.Final() || s.state == StateStopped && s.ending
	if same || closed {
		return func() {}
	}
	s.state, s.detail = state, detail
	ctx := s.behalf
	if state.Live() {
		s.behalf = context.Background() // what comes later nobody has asked for
	}
	return func() {
		s.log.InfoContext(ctx, "session "+string(state), "detail", scrub(detail))
		if s.cfg.OnState != nil {
			s.cfg.OnState(state, detail)
		}
	}
}

// onBehalf is the context for log lines about connecting.
func (s *Session) onBehalf() context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.behalf
}

// begin marks the session as started; there is no second start.
func (s *Session) begin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ending:
		return ErrStopped
	case s.started:
		return ErrStarted
	}
	s.started = true
	return nil
}

// Connect starts the session and returns once messages flow, or with a typed error once it is over: ErrLoggedOut,
// ErrReplaced, ErrOutdated, *BannedError, *RefusedError, ErrStopped. Whatever passes by itself is tried again in the
// background, with a backoff: when ctx ends before, Connect returns its error and the session goes on trying. safe
// says that PrepareSafe was called; a safe start that an earlier process has not finished is finished in any case.
func (s *Session) Connect(ctx context.Context, safe bool) error {
	if err := s.Start(ctx, safe); err != nil {
		return err
	}
	return s.Wait(ctx)
}

// Start is the part of Connect that doesn't wait: what is sent from here on goes out once messages flow.
func (s *Session) Start(ctx context.Context, safe bool) error {
	if !s.Paired() {
		return ErrNotPaired
	}
	if safe && !s.safePrepared() {
		return errors.New("connect: a safe start has to be prepared first")
	}
	if err := s.begin(); err != nil {
		return err
	}
	s.mu.Lock()
	s.behalf = ctx
	s.mu.Unlock()
	s.spawn(s.run)
	return nil
}

// spawn runs f in a goroutine that Stop waits for.
func (s *Session) spawn(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return
	}
	s.tasks.Go(f)
}

// conclude ends the session for good.
func (s *Session) conclude(state State, detail string, err error) {
	s.mu.Lock()
	first := s.finalErr == nil
	if first {
		s.finalErr = err
	}
	s.mu.Unlock()
	s.setState(state, detail)
	if first {
		close(s.over)
	}
}

// Wait returns nil once messages can flow, the reason once they never will (see Connect), or ctx's error.
func (s *Session) Wait(ctx context.Context) error {
	s.mu.Lock()
	ready := s.ready
	s.mu.Unlock()
	select {
	case <-s.stopped:
		return ErrStopped
	case <-s.over:
		return s.end()
	default:
	}
	select {
	case <-ready:
		return nil
	case <-s.over:
		return s.end()
	case <-s.stopped:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Session) end() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.finalErr
}

func (s *Session) stopping() bool {
	select {
	case <-s.stopped:
		return true
	default:
		return false
	}
}
