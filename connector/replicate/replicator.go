package replicate

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"sync"
	"time"

	"cloudsession/connector/capture"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/envelope"
	"cloudsession/shared/sessionlog"
)

// Errors that tell a caller what became of a session's replication.
var (
	// ErrFenced: somebody else owns the session now, or its copy was deleted. Nothing is pushed any more.
	ErrFenced = cloudstore.ErrFenced
	// ErrSealed: the log of this term has its seal, or may have it. Nothing is pushed any more.
	ErrSealed = errors.New("log is sealed")
	// ErrClosed: the session was detached.
	ErrClosed = errors.New("replication is closed")
	// ErrNoDevice: the file has no device row, so there is nothing that may be pushed (P6).
	ErrNoDevice = errors.New("session has no device")
	// ErrBackupOff: this session's backup is off, so nothing of it is pushed.
	ErrBackupOff = errors.New("backup of the session is off")
	// ErrUnknownOutcome: the file has a push of this very term in flight whose bytes are gone.
	// The session must be taken again, under a new epoch.
	ErrUnknownOutcome = errors.New("outcome of a push is unknown")
)

// CredentialsSource reads the plaintext of the credentials row from a session's database:
// {"creds": …, "timestamp": ms}. The connector's is baileys.Credentials.
type CredentialsSource func(ctx context.Context, db *sql.DB) ([]byte, error)

// Options of a Replicator. The zero value of each field means the default in its comment.
type Options struct {
	// Credentials reads the credentials' plaintext. Required.
	Credentials CredentialsSource
	// Log receives what operators look for. Default: slog.Default().
	Log *slog.Logger
	// Lanes is the number of writer lanes: a connection that hangs stalls one of them (P5). Default 4.
	Lanes int
	// Coalesce is how long a session waits after a change for more of them. Default 200 ms.
	Coalesce time.Duration
	// MaxWait is how long a change waits at most while others keep coming. Default 1 s.
	MaxWait time.Duration
	// GroupBytes and GroupRows bound one statement. Default 4 MiB and 512 rows.
	GroupBytes, GroupRows int
	// StatementTimeout bounds one call of the store. Default 5 s.
	StatementTimeout time.Duration
	// RetryMin and RetryMax bound the pause before the same bytes are sent again. Default 50 ms and 5 s.
	RetryMin, RetryMax time.Duration
	// TouchEvery is how often synced_at of the sessions pushed meanwhile is set. Default 1 s.
	TouchEvery time.Duration
	// CopyEvery is how often synced_at is copied into last_synced_at. Default 5 s.
	CopyEvery time.Duration
	// CompactBytes is the least weight of deltas that is worth a new base. Default 1 MiB.
	CompactBytes int64
	// CompactPause is how long a session whose base could not be made goes on with deltas. Default 1 h.
	CompactPause time.Duration
	// MaxBase is about how many bytes of rows are read for a base; a session of more has none. Default
	// 512 MiB: rows in memory weigh up to twice as much as the push that is made of them.
	MaxBase int
	// KeepBases and KeepFor bound the restore points kept: the smaller of the two (L2). Default 10 and 30 days.
	KeepBases int
	KeepFor   time.Duration
	// OnDurable is told the last row of each push once it is durable (for the high-water file).
	// It is called from the session's goroutine and must not block.
	OnDurable func(sessionID string, last sessionlog.Cursor)
	// Observer is told what is written, for metrics. Default: nobody.
	Observer Observer
}

// Term is a session's term of ownership as its take left it.
type Term struct {
	SessionID string
	Epoch     uint64
	// Parent is the parent's last data row; zero without a parent.
	Parent sessionlog.Cursor
	// Salt is the session's, from Restored.Salt or the file; zero makes a new one (a new session).
	Salt envelope.Salt
	// Start is "exact", "own-file", "safe" or "new".
	Start string
	// Backup is "full" (or empty), "credentials" or "off".
	Backup string
	// BootID names the machine's boot, for CanResumeOwnFile after this term.
	BootID string
	// Log is the weight of the log up to Parent as Restore found it; zero leaves it at what the file knows.
	Log LogSize
}

// LogSize weighs a log from its last complete base on.
type LogSize = capture.LogSize

// Status is what is known of a session's replication without asking the database.
type Status struct {
	// Pending: something is changed, in flight or unwritten that is not known durable.
	Pending bool
	// Since is when the oldest of it was first noticed; zero when nothing is pending.
	Since time.Time
	// LastDurable is when the last push became durable; zero before the first.
	LastDurable time.Time
	// PushedBytes and Pushes count what became durable in this term.
	PushedBytes int64
	Pushes      int64
	// LastError is why the last attempt failed; nil once one succeeds.
	LastError error
	// Cursor is the last row known durable.
	Cursor sessionlog.Cursor
}

// Replicator pushes the changes of many sessions through a few writer lanes. Its methods are safe for
// concurrent use.
type Replicator struct {
	store Writer
	keys  *envelope.Keyring
	opt   Options
	lanes []*lane

	ctx    context.Context //nolint:containedctx // the life of the goroutines, ended by Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	sessions map[string]*Session // running, by session id

	house   housekeeping
	pruning sync.Mutex // held while a session's restore points are looked up and pruned
}

// New returns a running Replicator. Close ends it.
func New(store Writer, keys *envelope.Keyring, o Options) *Replicator {
	o = o.withDefaults()
	ctx, cancel := context.WithCancel(context.Background())
	r := &Replicator{store: store, keys: keys, opt: o, ctx: ctx, cancel: cancel, sessions: map[string]*Session{}}
	r.house.init()
	for range o.Lanes {
		l := newLane(store, &r.opt, r.house.saved)
		r.lanes = append(r.lanes, l)
		r.tasks.Go(func() { l.run(ctx) })
	}
	r.tasks.Go(func() { r.keepTimes(ctx) })
	r.tasks.Go(func() { r.keepPruned(ctx) })
	return r
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	o.Lanes = cmp.Or(o.Lanes, 4)
	o.Coalesce = cmp.Or(o.Coalesce, 200*time.Millisecond)
	o.MaxWait = max(cmp.Or(o.MaxWait, time.Second), o.Coalesce)
	o.GroupBytes = cmp.Or(o.GroupBytes, 4<<20)
	o.GroupRows = cmp.Or(o.GroupRows, 512)
	o.StatementTimeout = cmp.Or(o.StatementTimeout, 5*time.Second)
	o.RetryMin = cmp.Or(o.RetryMin, 50*time.Millisecond)
	o.RetryMax = cmp.Or(o.RetryMax, 5*time.Second)
	o.TouchEvery = cmp.Or(o.TouchEvery, time.Second)
	o.CopyEvery = cmp.Or(o.CopyEvery, 5*time.Second)
	o.CompactBytes = cmp.Or(o.CompactBytes, 1<<20)
	o.CompactPause = cmp.Or(o.CompactPause, time.Hour)
	o.MaxBase = cmp.Or(o.MaxBase, 2*sessionlog.MaxPush)
	o.KeepBases = cmp.Or(o.KeepBases, 10)
	o.Observer = cmp.Or[Observer](o.Observer, nobody{})
	o.KeepFor = cmp.Or(o.KeepFor, 30*24*time.Hour)
	return o
}

// Attach starts to replicate the session in f under term. On the first Attach of a term it records
// the term in the file: for a safe start call it after the file was made safe, because a file that
// carries a term's epoch may be resumed as it is by CanResumeOwnFile. For an own-file start it settles
// the push in flight first (ResumeOwnFile). f stays the caller's, who closes it after Session.Close.
//
// It returns ErrUnknownOutcome for a file of this very term that has a push in flight whose bytes are
// gone, and ErrClosed after Close.
func (r *Replicator) Attach(ctx context.Context, f *capture.File, term Term) (*Session, error) {
	return r.attach(ctx, f, term)
}

// reserve keeps the session id for s: two writers in one term would fence each other.
func (r *Replicator) reserve(s *Session) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return ErrClosed
	}
	if r.sessions[s.term.SessionID] != nil {
		return errors.New("it is attached already")
	}
	r.sessions[s.term.SessionID] = s
	return nil
}

// start runs a session that has its id reserved.
func (r *Replicator) start(s *Session) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return ErrClosed
	}
	r.tasks.Go(s.run)
	return nil
}

func (r *Replicator) forget(s *Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sessions[s.term.SessionID] == s {
		delete(r.sessions, s.term.SessionID)
	}
}

// Close stops all sessions and lanes and waits for them. Statements under way are cut off: what became
// of them is settled at the next start.
func (r *Replicator) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cancel()
	r.tasks.Wait()
}
