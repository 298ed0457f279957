package capture

import (
	"container/list"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
)

const (
	maxStatements    = 32   // kept prepared by one connection
	maxStatementText = 2048 // longer ones are mass inserts, whose text varies
)

// statements keeps a connection's prepared statements by their text.
// whatsmeow's store prepares each statement anew, and preparing a write compiles
// the triggers into it, which costs more than running them.
type statements struct {
	byText map[string]*list.Element
	recent list.List // of *statement, the latest in front
}

// statement is a prepared statement of modernc's driver.
type statement struct {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
	text string
	used bool // by rows that are still open
}

// ExecContext implements driver.ExecerContext.
func (c *conn) ExecContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Result, error) {
	s, err := c.statements.get(ctx, c.sqliteConn, text)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return c.sqliteConn.ExecContext(ctx, text, args)
	}
	return s.ExecContext(ctx, args)
}

// QueryContext implements driver.QueryerContext.
func (c *conn) QueryContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Rows, error) {
	s, err := c.statements.get(ctx, c.sqliteConn, text)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return c.sqliteConn.QueryContext(ctx, text, args)
	}
	inner, err := s.QueryContext(ctx, args)
	if err != nil {
		return nil, err
	}
	full, ok := inner.(sqliteRows)
	if !ok {
		return nil, errors.Join(fmt.Errorf("%T lacks a method that capture needs", inner), inner.Close())
	}
	s.used = true
	return &keptRows{sqliteRows: full, s: s}, nil
}

// sqliteRows is what modernc's rows offer to database/sql.
type sqliteRows interface {
	driver.Rows
	driver.RowsColumnTypeDatabaseTypeName
	driver.RowsColumnTypeLength
	driver.RowsColumnTypeNullable
	driver.RowsColumnTypePrecisionScale
	driver.RowsColumnTypeScanType
}

// keptRows are rows of a kept statement, which is free again when they close.
type keptRows struct {
	sqliteRows
	s *statement
}

// Close implements driver.Rows.
func (r *keptRows) Close() error {
	r.s.used = false
	return r.sqliteRows.Close()
}

// keepable reports whether text is worth keeping prepared.
func keepable(text string) bool {
	if len(text) > maxStatementText {
		return false
	}
	text = strings.TrimLeft(text, " \t\r\n")
	if len(text) < 6 {
		return false
	}
	switch strings.ToUpper(text[:6]) {
	case "SELECT", "INSERT", "UPDATE", "DELETE":
		return true
	}
	return false
}

// get returns the prepared statement of text, or nil if it isn't to be kept or
// is in use.
func (s *statements) get(ctx context.Context, on driver.ConnPrepareContext, text string) (*statement, error) {
	if e, ok := s.byText[text]; ok {
		kept := e.Value.(*statement)
		if kept.used {
			return nil, nil
		}
		s.recent.MoveToFront(e)
		return kept, nil
	}
	if !keepable(text) || !s.makeRoom() {
		return nil, nil
	}
	prepared, err := on.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	kept := &statement{Stmt: prepared, text: text}
	var ok, ok2 bool
	kept.StmtExecContext, ok = prepared.(driver.StmtExecContext)
	kept.StmtQueryContext, ok2 = prepared.(driver.StmtQueryContext)
	if !ok || !ok2 {
		return nil, errors.Join(fmt.Errorf("%T lacks a method that capture needs", prepared), prepared.Close())
	}
	if s.byText == nil {
		s.byText = make(map[string]*list.Element)
	}
	s.byText[text] = s.recent.PushFront(kept)
	return kept, nil
}

// makeRoom gives up the statement that was not needed for longest. It reports
// false if that one is in use or can't be closed.
func (s *statements) makeRoom() bool {
	if s.recent.Len() < maxStatements {
		return true
	}
	oldest := s.recent.Back()
	return !oldest.Value.(*statement).used && s.drop(oldest) == nil
}

func (s *statements) drop(e *list.Element) error {
	old := s.recent.Remove(e).(*statement)
	delete(s.byText, old.text)
	return old.Close()
}

// close ends all statements.
func (s *statements) close() error {
	var err error
	for s.recent.Len() > 0 {
		err = errors.Join(err, s.drop(s.recent.Back()))
	}
	return err
}
