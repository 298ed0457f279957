package replicate

import (
	"context"
	"errors"

	"cloudsession/connector/capture"
)

// Session replicates one session file under one term. Its methods are safe for concurrent use.
type Session struct{ done chan struct{} }

// Replicator pushes the changes of many sessions through a few writer lanes.
type Replicator struct{}

func newReplicator(Writer, any, Options) *Replicator { return &Replicator{} }

// Close stops all sessions and lanes.
func (r *Replicator) Close() {}

func (r *Replicator) attach(context.Context, *capture.File, Term) (*Session, error) {
	return nil, errors.ErrUnsupported
}

// Changed says that something was committed to the session file. It never blocks.
func (s *Session) Changed() {}

// WaitDurable returns once everything committed before the call is durable (A1).
func (s *Session) WaitDurable(ctx context.Context) error { return errors.ErrUnsupported }

// Flush is WaitDurable, and the credentials row, and the visible times (P8).
func (s *Session) Flush(ctx context.Context) error { return errors.ErrUnsupported }

// Reopen closes the file and goes on with the one that open returns (O6).
func (s *Session) Reopen(ctx context.Context, open func(context.Context) (*capture.File, error)) error {
	return errors.ErrUnsupported
}

// Seal pushes until clean and ends the log with the seal (O6).
func (s *Session) Seal(ctx context.Context) error { return errors.ErrUnsupported }

// Rebase pushes a fresh base and the credentials under the current secret.
func (s *Session) Rebase(ctx context.Context, prune bool) error { return errors.ErrUnsupported }

// Close stops replicating and returns when the file is no longer used.
func (s *Session) Close() {}

// Done is closed when nothing is pushed any more; Err says why.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err returns why the session stopped, or nil.
func (s *Session) Err() error { return nil }

// Status returns what is known without asking the database.
func (s *Session) Status() Status { return Status{} }
