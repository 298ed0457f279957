package capture

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"modernc.org/sqlite"
)

// A connection holds half a megabyte to one, most of it the schema with its
// triggers and what was compiled with them, and to open one takes five
// milliseconds of a processor for the same reason: more than a message does.
const (
	longIdle  = 30 * time.Second // how long an unused connection stays open in a process with few of them
	shortIdle = 3 * time.Second  // and at least, however many there are
	manyConns = 512              // from here on the more there are the shorter they stay
)

// openConns counts the connections to all files of this process.
var openConns atomic.Int64

// idleTime is how long a connection stays open that is not used, when so many
// are open.
func idleTime(open int64) time.Duration {
	return max(shortIdle, longIdle*manyConns/time.Duration(max(open, manyConns)))
}

// sqliteConn is what modernc's connection offers to database/sql.
type sqliteConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

// connector opens connections that report their commits to f.
type connector struct {
	driver.Connector
	f *File
}

// Connect implements driver.Connector.
func (c connector) Connect(ctx context.Context) (_ driver.Conn, err error) {
	if !c.f.enter() {
		return nil, ErrClosed
	}
	defer func() {
		if err != nil {
			c.f.conns.Done()
		}
	}()
	raw, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	inner, ok := raw.(sqliteConn)
	hooks, ok2 := raw.(sqlite.HookRegisterer)
	if !ok || !ok2 {
		return nil, errors.Join(fmt.Errorf("%T lacks a method that capture needs", raw), raw.Close())
	}
	w := &conn{sqliteConn: inner, f: c.f}
	c.f.keepIdle(idleTime(openConns.Add(1)))
	hooks.RegisterCommitHook(w.commit)
	return w, nil
}

// enter counts a connection that is about to be opened; false when the file is
// closing, which then waits for it no more.
func (f *File) enter() bool {
	f.entering.Lock()
	defer f.entering.Unlock()
	if f.closing.Load() {
		return false
	}
	f.conns.Add(1)
	return true
}

// keepIdle sets how long a connection may be unused. Not when the file is
// closing: in a closed pool this starts a goroutine that stays as long.
func (f *File) keepIdle(d time.Duration) {
	f.entering.Lock()
	defer f.entering.Unlock()
	if !f.closing.Load() {
		f.db.SetConnMaxIdleTime(d)
	}
}

// conn is one connection to a session file. Only the goroutine that database/sql
// lets use it touches its fields.
type conn struct {
	sqliteConn
	f *File

	statements statements
	quiet      bool // the package's own bookkeeping, nobody's business
	committed  bool // since the connection was last given back
}

// commit is SQLite's commit hook: the transaction is complete but not yet
// visible. What it returns, if not zero, turns the commit into a rollback.
//
// It signals at once, for transactions on a connection that is then kept, and
// lets IsValid signal again: the reader that the first signal wakes may come
// before the commit does.
func (c *conn) commit() int32 {
	if c.f.closing.Load() {
		return 1
	}
	if !c.quiet {
		c.committed = true
		c.f.onCommit()
	}
	return 0
}

// IsValid implements driver.Validator. database/sql calls it when it takes the
// connection back, so here the commit is done.
func (c *conn) IsValid() bool {
	if c.committed {
		c.committed = false
		c.f.onCommit()
	}
	return c.sqliteConn.IsValid()
}

// Close implements driver.Conn.
func (c *conn) Close() error {
	defer c.f.conns.Done()
	openConns.Add(-1)
	return errors.Join(c.statements.close(), c.sqliteConn.Close())
}

// quietly runs do on a connection whose commits are not reported.
func (f *File) quietly(ctx context.Context, do func(*sql.Conn) error) error {
	pooled, err := f.db.Conn(ctx)
	if err != nil {
		return err
	}
	set := func(quiet bool) error {
		return pooled.Raw(func(c any) error {
			c.(*conn).quiet = quiet
			return nil
		})
	}
	if err := set(true); err != nil {
		return errors.Join(err, pooled.Close())
	}
	return errors.Join(do(pooled), set(false), pooled.Close())
}

// quietTx runs do in an immediate transaction on a quiet connection.
func (f *File) quietTx(ctx context.Context, do func(*sql.Tx) error) error {
	return f.quietly(ctx, func(c *sql.Conn) error { return inTx(ctx, c, nil, do) })
}

// inTx runs do in a transaction and commits it if do returns nil.
func inTx(ctx context.Context, c *sql.Conn, o *sql.TxOptions, do func(*sql.Tx) error) error {
	tx, err := c.BeginTx(ctx, o)
	if err != nil {
		return err
	}
	if err := do(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}
