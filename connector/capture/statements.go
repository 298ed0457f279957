package capture

import (
	"container/list"
	"context"
	"database/sql/driver"
	"errors"
	"strings"
)

const (
	maxStatements    = 32   // prepared writes kept by one connection
	maxStatementText = 1024 // longer ones are mass inserts, whose text varies
)

// statements keeps a connection's prepared writes. whatsmeow's store never
// prepares a statement itself, and preparing one compiles the triggers into it,
// which costs more than running them.
//
// Only statements run through ExecContext are kept: they are always run to
// their end, so one is never in use twice.
type statements struct {
	byText map[string]*list.Element
	recent list.List // of *statement, the latest in front
}

type statement struct {
	text string
	stmt driver.StmtExecContext
	done func() error
}

// ExecContext implements driver.ExecerContext.
func (c *conn) ExecContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Result, error) {
	if !isWrite(text) {
		return c.sqliteConn.ExecContext(ctx, text, args)
	}
	s, err := c.statements.get(ctx, c.sqliteConn, text)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return c.sqliteConn.ExecContext(ctx, text, args)
	}
	return s.stmt.ExecContext(ctx, args)
}

// isWrite reports whether text is worth keeping prepared.
func isWrite(text string) bool {
	if len(text) > maxStatementText {
		return false
	}
	text = strings.TrimLeft(text, " \t\r\n")
	if len(text) < 6 {
		return false
	}
	switch strings.ToUpper(text[:6]) {
	case "INSERT", "UPDATE", "DELETE":
		return true
	}
	return false
}

// get returns the prepared statement of text, nil if the driver can't run it.
func (s *statements) get(ctx context.Context, on driver.ConnPrepareContext, text string) (*statement, error) {
	if e, ok := s.byText[text]; ok {
		s.recent.MoveToFront(e)
		return e.Value.(*statement), nil
	}
	prepared, err := on.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	exec, ok := prepared.(driver.StmtExecContext)
	if !ok {
		return nil, prepared.Close()
	}
	if s.recent.Len() >= maxStatements {
		if err := s.drop(s.recent.Back()); err != nil {
			return nil, errors.Join(err, prepared.Close())
		}
	}
	if s.byText == nil {
		s.byText = make(map[string]*list.Element)
	}
	kept := &statement{text: text, stmt: exec, done: prepared.Close}
	s.byText[text] = s.recent.PushFront(kept)
	return kept, nil
}

func (s *statements) drop(e *list.Element) error {
	old := s.recent.Remove(e).(*statement)
	delete(s.byText, old.text)
	return old.done()
}

// close ends all statements.
func (s *statements) close() error {
	var err error
	for s.recent.Len() > 0 {
		err = errors.Join(err, s.drop(s.recent.Back()))
	}
	return err
}
