package replicate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"cloudsession/connector/capture"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/envelope"
)

// Session replicates one session file under one term. Its methods are safe for concurrent use.
//
// All work on the file is done by one goroutine, run; the methods leave requests for it.
type Session struct {
	r    *Replicator
	lane *lane
	log  *slog.Logger
	term Term
	salt envelope.Salt

	wake     chan struct{} // a poke: look at what there is to do
	forget   bool          // the log before this term is not to be gone on from
	keepAll  atomic.Bool   // see KeepAll
	stopping chan struct{} // closed by Close
	stopOnce sync.Once
	done     chan struct{} // closed when run has ended

	mu         sync.Mutex
	requests   []*request // not yet seen by run
	dirtySince time.Time  // first change that no read has covered; zero: none
	lastChange time.Time
	status     Status
	err        error

	worker // what only run touches
}

// request is something a caller waits for.
type request struct {
	kind   requestKind
	open   func(context.Context) (*capture.File, error) // reopen
	ctx    context.Context                              //nolint:containedctx // the caller's: ends what it asked for
	result chan error                                   // holds one
}

type requestKind int

const (
	wantDurable requestKind = iota // everything committed so far is durable
	wantSynced                     // and the credentials row too
	wantBase                       // by way of a fresh base
	wantSeal                       // and then the seal
	wantReopen                     // another handle for the same file
)

func (q *request) answer(err error) {
	select {
	case q.result <- err:
	default: // answered already
	}
}

// Changed says that something was committed to the session file. It never blocks, and may be called
// from capture.Options.OnCommit.
func (s *Session) Changed() {
	now := time.Now()
	s.mu.Lock()
	first := s.dirtySince.IsZero()
	if first {
		s.dirtySince = now
	}
	s.lastChange = now
	s.mu.Unlock()
	if first {
		s.poke()
	}
}

// WaitDurable returns once everything committed to the file before the call is durable in the cloud
// (A1). It skips the coalescing delay. Without a database it waits until ctx ends; the error then says
// why the last attempt failed. Other errors: ErrFenced, ErrSealed, ErrClosed, ErrNoDevice, ErrBackupOff.
func (s *Session) WaitDurable(ctx context.Context) error {
	return s.ask(ctx, &request{kind: wantDurable})
}

// Flush returns once everything committed before the call, credentials included, is durable and the
// session was seen to be still this term's afterwards (P8), and the times that the API shows are
// current. Errors are those of WaitDurable.
func (s *Session) Flush(ctx context.Context) error {
	if err := s.ask(ctx, &request{kind: wantSynced}); err != nil {
		return err
	}
	if err := s.showSynced(ctx); err != nil {
		return err
	}
	s.log.InfoContext(ctx, "☁️ Session "+s.term.SessionID+" synced to cloud", "session", s.term.SessionID, "epoch", s.term.Epoch)
	return nil
}

// showSynced sets and copies the times, and looks whether the owner row is still this term's.
func (s *Session) showSynced(ctx context.Context) error {
	owner, err := s.r.store.Owner(ctx, s.term.SessionID)
	switch {
	case err != nil:
		return fmt.Errorf("check the owner after a sync: %w", err)
	case owner.Epoch != s.term.Epoch:
		return fmt.Errorf("session %s: epoch %d was taken over by %d: %w", s.term.SessionID, s.term.Epoch, owner.Epoch, ErrFenced)
	case owner.Backup == cloudstore.BackupOff:
		return ErrBackupOff
	}
	if err := s.r.store.Touch(ctx, []cloudstore.SessionEpoch{{SessionID: s.term.SessionID, Epoch: s.term.Epoch}}); err != nil {
		return fmt.Errorf("set time of sync: %w", err)
	}
	if err := s.r.store.CopySynced(ctx, []string{s.term.SessionID}); err != nil {
		return fmt.Errorf("copy time of sync: %w", err)
	}
	return nil
}

// Rebase pushes a fresh base and the credentials, both under the current secret, and returns once they
// are durable. With prune everything before that base is deleted: restore points are lost, and with
// them what an old secret can open.
func (s *Session) Rebase(ctx context.Context, prune bool) error {
	credentials := s.Backup() == cloudstore.BackupCredentials // before: it may change meanwhile, and then a base prunes
	if err := s.ask(ctx, &request{kind: wantBase}); err != nil {
		return err
	}
	if !prune {
		return nil
	}
	if credentials {
		if _, err := s.r.store.Prune(ctx, s.term.SessionID, s.term.Epoch, s.term.Epoch, 1); err != nil {
			return fmt.Errorf("prune what was pushed before the credentials alone were kept: %w", err)
		}
		return nil
	}
	if _, err := s.r.prune(ctx, pruneJob{s.term.SessionID, s.term.Epoch, 1}); err != nil {
		return fmt.Errorf("prune before the fresh base: %w", err)
	}
	return nil
}

// Reopen calls open while this package leaves the file alone, and goes on with the handle that open
// returns. open closes the present handle, the barrier after which whatsmeow commits nothing any more
// (W5), and opens the same file again. A push in flight stays in flight meanwhile. If open fails the
// session has stopped.
func (s *Session) Reopen(ctx context.Context, open func(context.Context) (*capture.File, error)) error {
	return s.ask(ctx, &request{kind: wantReopen, open: open})
}

// Seal pushes until nothing is dirty and ends the log with the seal (O6). The caller has closed the
// socket and the handle that whatsmeow used. If Seal fails before the seal was first sent, the session
// goes on as before; afterwards nothing is pushed any more, and only the database knows whether the
// seal stands.
func (s *Session) Seal(ctx context.Context) error {
	return s.ask(ctx, &request{kind: wantSeal})
}

// ask leaves a request for run and waits for the answer.
func (s *Session) ask(ctx context.Context, q *request) error {
	q.ctx, q.result = ctx, make(chan error, 1)
	s.mu.Lock()
	s.requests = append(s.requests, q)
	s.mu.Unlock()
	s.poke()
	select {
	case err := <-q.result:
		return err
	case <-s.done:
		select {
		case err := <-q.result:
			return err
		default:
			return s.Err()
		}
	case <-ctx.Done():
		if last := s.Status().LastError; last != nil {
			return fmt.Errorf("wait for the cloud: %w (last attempt: %w)", ctx.Err(), last)
		}
		return fmt.Errorf("wait for the cloud: %w", ctx.Err())
	}
}

// Close stops replicating and returns when the file is no longer used. A push in flight stays recorded
// in the file.
func (s *Session) Close() {
	s.stopOnce.Do(func() { close(s.stopping) })
	<-s.done
}

// Done is closed when nothing is pushed any more; Err says why.
func (s *Session) Done() <-chan struct{} { return s.done }

// Backup returns what of the session is pushed: cloudstore.BackupFull, BackupCredentials or BackupOff.
func (s *Session) Backup() string {
	if s.term.Backup == cloudstore.BackupCredentials && s.keepAll.Load() {
		return cloudstore.BackupFull
	}
	return cmp.Or(s.term.Backup, cloudstore.BackupFull)
}

// ForgetParent ends the use of the log from before a term that keeps the credentials alone; of any other
// it does nothing. Call it before a socket changes anything, and when nothing can fail any more that would
// throw the file away: what only the log had is in that alone then.
func (s *Session) ForgetParent(ctx context.Context) error {
	if !s.forget {
		return nil
	}
	return s.r.store.ForgetParent(ctx, s.term.SessionID, s.term.Epoch)
}

// KeepAll has everything pushed from now on where the term began with the credentials alone. The first
// push is a base. There is no way back within a term: the log would end before the state does, and the
// owner row might call for it.
func (s *Session) KeepAll() {
	if !s.keepAll.Swap(true) {
		s.Changed()
	}
}

// Err returns nil while the session is replicated, then ErrFenced, ErrSealed, ErrClosed or what else
// ended it.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Status returns what is known without asking the database.
func (s *Session) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.status
	if !s.dirtySince.IsZero() && (st.Since.IsZero() || s.dirtySince.Before(st.Since)) {
		st.Since = s.dirtySince
	}
	st.Pending = !st.Since.IsZero()
	return st
}

func (s *Session) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// noteError keeps why something has to be tried again, for Status.
func (s *Session) noteError(err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.LastError = err
}
