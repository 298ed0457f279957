package metrics

import (
	"context"
	"database/sql/driver"
	"errors"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"cloudsession/shared/cloudstore"
)

// statements times what is sent to TiDB and counts what goes wrong.
type statements struct {
	took   *prometheus.HistogramVec
	errors *prometheus.CounterVec
}

// Values of the label statement besides SQL's own verbs.
const (
	statementConnect = "connect"
	statementBegin   = "begin"
	statementCommit  = "commit"
)

// verbs are the first words of statements that have a series of their own.
var verbs = map[string]string{"SELECT": "select", "INSERT": "insert", "UPDATE": "update", "DELETE": "delete"}

// Values of the label kind of TiDB's errors. A write that is fenced is no error of
// the database: fenced_writes_total counts those.
const (
	errorUnavailable = "unavailable"
	errorConflict    = "conflict"
)

func newStatements(f factory) *statements {
	s := &statements{
		took: f.histograms("tidb_statement_duration_seconds", "Time until TiDB began to answer a statement.",
			[]float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}, "statement"),
		errors: f.counters("tidb_errors_total", "Statements that failed: TiDB could not serve them, they lost against another, or something else.",
			"kind", errorUnavailable, errorConflict, other),
	}
	for _, v := range verbs {
		s.took.WithLabelValues(v)
	}
	for _, v := range []string{statementConnect, statementBegin, statementCommit, other} {
		s.took.WithLabelValues(v)
	}
	return s
}

// Statements implements cloudstore.Watcher.
func (m *Metrics) Statements(c driver.Connector) driver.Connector {
	return &timedConnector{Connector: c, s: m.statements}
}

func verb(query string) string {
	word, _, _ := strings.Cut(strings.TrimLeft(query, " \t\n("), " ")
	word, _, _ = strings.Cut(word, "\n")
	if v, ok := verbs[strings.ToUpper(word)]; ok {
		return v
	}
	return other
}

// observe notes a statement that began then. driver.ErrSkip means that it was not
// sent, and what its caller gave up tells nothing.
func (s *statements) observe(statement string, began time.Time, err error) {
	if errors.Is(err, driver.ErrSkip) || errors.Is(err, context.Canceled) {
		return
	}
	s.took.WithLabelValues(statement).Observe(time.Since(began).Seconds())
	switch {
	case err == nil:
	case cloudstore.IsConflict(err): // first: an answer that is in both lists
		s.errors.WithLabelValues(errorConflict).Inc()
	case cloudstore.IsUnavailable(err):
		s.errors.WithLabelValues(errorUnavailable).Inc()
	default:
		s.errors.WithLabelValues(other).Inc()
	}
}

type timedConnector struct {
	driver.Connector
	s *statements
}

// Connect implements driver.Connector.
func (c *timedConnector) Connect(ctx context.Context) (driver.Conn, error) {
	began := time.Now()
	inner, err := c.Connector.Connect(ctx)
	c.s.observe(statementConnect, began, err)
	if err != nil {
		return nil, err
	}
	full, ok := inner.(conn)
	if !ok {
		return nil, errors.Join(errors.New("watch connection: the driver offers less than expected"), inner.Close())
	}
	return &timedConn{conn: full, s: c.s}, nil
}

// conn is what database/sql uses of a connection of the MySQL driver's.
type conn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.NamedValueChecker
	driver.Pinger
	driver.QueryerContext
	driver.SessionResetter
	driver.Validator
}

type timedConn struct {
	conn
	s *statements
}

// BeginTx implements driver.ConnBeginTx.
func (c *timedConn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	began := time.Now()
	tx, err := c.conn.BeginTx(ctx, o)
	c.s.observe(statementBegin, began, err)
	if err != nil {
		return nil, err
	}
	return &timedTx{Tx: tx, s: c.s}, nil
}

// ExecContext implements driver.ExecerContext.
func (c *timedConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	began := time.Now()
	result, err := c.conn.ExecContext(ctx, query, args)
	c.s.observe(verb(query), began, err)
	return result, err
}

// QueryContext implements driver.QueryerContext.
func (c *timedConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	began := time.Now()
	rows, err := c.conn.QueryContext(ctx, query, args)
	c.s.observe(verb(query), began, err)
	return rows, err
}

// PrepareContext implements driver.ConnPrepareContext.
func (c *timedConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	inner, err := c.conn.PrepareContext(ctx, query)
	if err != nil {
		c.s.observe(other, time.Now(), err)
		return nil, err
	}
	full, ok := inner.(stmt)
	if !ok {
		return nil, errors.Join(errors.New("watch statement: the driver offers less than expected"), inner.Close())
	}
	return &timedStmt{stmt: full, s: c.s, verb: verb(query)}, nil
}

// stmt is what database/sql uses of a prepared statement of the MySQL driver's.
type stmt interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
	driver.NamedValueChecker
}

type timedStmt struct {
	stmt
	s    *statements
	verb string
}

// ExecContext implements driver.StmtExecContext.
func (t *timedStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	began := time.Now()
	result, err := t.stmt.ExecContext(ctx, args)
	t.s.observe(t.verb, began, err)
	return result, err
}

// QueryContext implements driver.StmtQueryContext.
func (t *timedStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	began := time.Now()
	rows, err := t.stmt.QueryContext(ctx, args)
	t.s.observe(t.verb, began, err)
	return rows, err
}

type timedTx struct {
	driver.Tx
	s *statements
}

// Commit implements driver.Tx.
func (t *timedTx) Commit() error {
	began := time.Now()
	err := t.Tx.Commit()
	t.s.observe(statementCommit, began, err)
	return err
}
