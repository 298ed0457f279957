package cloudstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// attempts bounds how often a transaction is started over when the database
// says that it lost against another.
const attempts = 12

// errStartOver, returned by a transaction's body, rolls it back and runs it
// again: what it read has changed under it.
var errStartOver = errors.New("state changed, start over")

// commitError is an error of COMMIT itself that does not say whether the
// transaction is committed.
type commitError struct{ err error }

func (e *commitError) Error() string { return "commit, outcome unknown: " + e.err.Error() }
func (e *commitError) Unwrap() error { return e.err }

// withTransaction runs body in a pessimistic transaction and commits. It starts
// over only after answers that mean "rolled back, try again" and after
// errStartOver; body must have no other effects. A *commitError is returned
// when the outcome is unknown.
func (s *Store) withTransaction(ctx context.Context, body func(tx *sql.Tx) error) error {
	for attempt := 1; ; attempt++ {
		err := s.transactOnce(ctx, body)
		again := errors.Is(err, errStartOver) || isRetryable(err)
		if !again || attempt == attempts {
			return err
		}
		if err := pause(ctx, attempt); err != nil {
			return err
		}
	}
}

func (s *Store) transactOnce(ctx context.Context, body func(tx *sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	// After a commit this does nothing; after an error there is nothing to add.
	defer func() { _ = tx.Rollback() }()
	if err := body(tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		if isRetryable(err) {
			return err
		}
		return &commitError{err}
	}
	return nil
}

// retry repeats a single statement after answers that mean "not done, try
// again".
func (s *Store) retry(ctx context.Context, statement func() error) error {
	for attempt := 1; ; attempt++ {
		err := statement()
		if !isRetryable(err) || attempt == attempts {
			return err
		}
		if err := pause(ctx, attempt); err != nil {
			return err
		}
	}
}

// exec runs one statement by itself and returns how many rows it changed.
func (s *Store) exec(ctx context.Context, query string, args ...any) (changed int64, err error) {
	err = s.retry(ctx, func() error {
		changed, err = execOn(ctx, s.db, query, args...)
		return err
	})
	return changed, err
}

// execer is *sql.DB or *sql.Tx.
type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// preparer is *sql.DB or *sql.Tx.
type preparer interface {
	execer
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
}

// textLimit is up to how much data a statement carries it as text.
const textLimit = 4 << 10

// execData is execOn for a statement that carries size bytes of data. Much of
// it goes in the binary protocol: one more round trip, but the server need not
// parse it (measured: ten times faster for a few MiB, three times for 200 rows
// of 700 bytes).
func execData(ctx context.Context, p preparer, size int, query string, args ...any) (changed int64, err error) {
	if size <= textLimit {
		return execOn(ctx, p, query, args...)
	}
	statement, err := p.PrepareContext(ctx, query)
	if err != nil {
		return 0, err
	}
	// The outcome is known by then; a connection that breaks now is dropped.
	defer func() { _ = statement.Close() }()
	result, err := statement.ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// querier is *sql.DB or *sql.Tx.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// execOn runs a statement and returns how many rows it changed; rows that
// already had the new values don't count.
func execOn(ctx context.Context, e execer, query string, args ...any) (int64, error) {
	result, err := e.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// collect runs a query and scans each row.
func collect[T any](ctx context.Context, q querier, scan func(scanner) (T, error), query string, args ...any) (_ []T, err error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var all []T
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, rows.Err()
}

// one is collect for a query with at most one row; ErrNotFound only if the
// database answered that there is none.
func one[T any](ctx context.Context, q querier, scan func(scanner) (T, error), query string, args ...any) (T, error) {
	var zero T
	all, err := collect(ctx, q, scan, query, args...)
	switch {
	case err != nil:
		return zero, err
	case len(all) == 0:
		return zero, ErrNotFound
	}
	return all[0], nil
}

// scanner is *sql.Row or *sql.Rows.
type scanner interface{ Scan(dest ...any) error }

// scanAs reads a row of one column.
func scanAs[T any](row scanner) (value T, err error) {
	err = row.Scan(&value)
	return value, err
}

// pause waits before another attempt: up to 2 ms, doubling to 256 ms.
func pause(ctx context.Context, attempt int) error {
	limit := time.Millisecond << min(attempt, 8)
	timer := time.NewTimer(rand.N(limit)) //nolint:gosec // G404: jitter needs no secrecy
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
