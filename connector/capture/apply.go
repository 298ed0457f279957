package capture

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"

	"cloudsession/shared/sessionlog"
)

// Apply replays one push in one transaction, with foreign keys off (L3). A base
// makes its tables anew, from its own schema; whatever the file held before is
// gone. A delta is applied only to a file that was built by Apply and has not
// been installed since. After the last push come Check, whatsmeow's Upgrade,
// and Install.
//
// ErrSchema tells that a push has tables or columns the file lacks.
func (f *File) Apply(ctx context.Context, p sessionlog.Push) error {
	f.setLayout(nil)
	err := f.withoutForeignKeys(ctx, func(tx *sql.Tx) error {
		if p.Base {
			if err := rebuild(ctx, tx, p); err != nil {
				return err
			}
		}
		return f.replay(ctx, tx, p)
	})
	if err != nil {
		return fmt.Errorf("apply push: %w", corrupt(err))
	}
	return nil
}

// withoutForeignKeys runs do in a transaction with foreign keys off. The setting
// can't change inside a transaction. A connection that can't be set back is not
// used again.
func (f *File) withoutForeignKeys(ctx context.Context, do func(*sql.Tx) error) error {
	return f.quietly(ctx, func(c *sql.Conn) error {
		if _, err := c.ExecContext(ctx, "PRAGMA foreign_keys = OFF"); err != nil {
			return err
		}
		err := inTx(ctx, c, nil, do)
		_, err2 := c.ExecContext(context.WithoutCancel(ctx), "PRAGMA foreign_keys = ON")
		if err2 != nil {
			err2 = errors.Join(err2, discard(c))
		}
		return errors.Join(err, err2)
	})
}

// discard takes a connection out of the pool.
func discard(c *sql.Conn) error {
	err := c.Raw(func(any) error { return driver.ErrBadConn })
	if errors.Is(err, driver.ErrBadConn) {
		return nil
	}
	return err
}

// replay deletes every row that p names and inserts those that exist. All go
// before any come, since a row may take over another one's unique value.
func (f *File) replay(ctx context.Context, tx *sql.Tx, p sessionlog.Push) error {
	l, err := f.replayLayout(ctx, tx)
	if err != nil {
		return err
	}
	if err := refuseInstalled(ctx, tx); err != nil {
		return err
	}
	for i := range p.Tables {
		if err := l.accepts(p, &p.Tables[i]); err != nil {
			return err
		}
	}
	if !p.Base { // its tables are empty
		if err := eachRecord(ctx, tx, p, deleteStatement, func(r sessionlog.Record) []any { return r.Key }); err != nil {
			return err
		}
	}
	return eachRecord(ctx, tx, p, insertStatement, func(r sessionlog.Record) []any { return r.Row })
}

// replayLayout returns the captured tables. A log may hold thousands of deltas,
// and reading the tables' shapes costs more than most of them: so they are read
// again only when SQLite's own counter of schema changes has moved
// (https://www.sqlite.org/pragma.html#pragma_schema_version).
func (f *File) replayLayout(ctx context.Context, tx *sql.Tx) (*layout, error) {
	var version int64
	if err := tx.QueryRowContext(ctx, "PRAGMA schema_version").Scan(&version); err != nil {
		return nil, fmt.Errorf("read schema version: %w", err)
	}
	f.mu.Lock()
	known := f.replayed
	f.mu.Unlock()
	if known.layout != nil && known.version == version {
		return known.layout, nil
	}
	l, err := readLayout(ctx, tx)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	f.replayed = replayed{version, l}
	f.mu.Unlock()
	return l, nil
}

// replayed is the layout that Apply found at a schema version.
type replayed struct {
	version int64
	layout  *layout
}

// refuseInstalled returns an error unless the file is one that Apply builds:
// elsewhere triggers would note every row as changed here.
func refuseInstalled(ctx context.Context, tx *sql.Tx) error {
	var replayed bool
	if err := tx.QueryRowContext(ctx, "SELECT replayed FROM "+stateTable).Scan(&replayed); err != nil {
		return err
	}
	if !replayed {
		return errors.New("no base was applied to this file, or capture is installed in it")
	}
	return nil
}

// accepts returns ErrSchema unless t is a captured table with the same columns
// and key as the file's.
func (l *layout) accepts(p sessionlog.Push, t *sessionlog.Table) error {
	versions := fmt.Sprintf("push of schema version %d, file of version %d", p.SchemaVersion, l.version)
	have := l.find(t.Name)
	if have == nil {
		return fmt.Errorf("%w: unknown table %q (%s)", ErrSchema, t.Name, versions)
	}
	if !slices.Equal(have.Columns, t.Columns) || !slices.Equal(have.Key, t.Key) {
		return fmt.Errorf("%w: table %s has other columns (%s)", ErrSchema, t.Name, versions)
	}
	return nil
}

func deleteStatement(t *sessionlog.Table) string {
	where := make([]string, len(t.Key))
	for i, column := range t.Key {
		where[i] = quote(column) + " = ?"
	}
	return "DELETE FROM " + quote(t.Name) + " WHERE " + strings.Join(where, " AND ")
}

func insertStatement(t *sessionlog.Table) string {
	return fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s)", quote(t.Name),
		each(t.Columns, func(_ int, column string) string { return quote(column) }),
		each(t.Columns, func(int, string) string { return "?" }))
}

// eachRecord runs a table's statement for each of its records for which args
// gives any.
func eachRecord(ctx context.Context, tx *sql.Tx, p sessionlog.Push,
	statement func(*sessionlog.Table) string, args func(sessionlog.Record) []any,
) (err error) {
	prepared := make([]*sql.Stmt, len(p.Tables))
	defer func() {
		for _, s := range prepared {
			if s != nil {
				err = errors.Join(err, s.Close())
			}
		}
	}()
	for _, r := range p.Records {
		if r.Table < 0 || r.Table >= len(p.Tables) {
			return fmt.Errorf("%w: record of table number %d", ErrSchema, r.Table)
		}
		values := args(r)
		if values == nil {
			continue
		}
		t := &p.Tables[r.Table]
		if prepared[r.Table] == nil {
			prepared[r.Table], err = tx.PrepareContext(ctx, statement(t)) //nolint:sqlclosecheck // closed by the defer above
			if err != nil {
				return fmt.Errorf("table %s: %w", t.Name, err)
			}
		}
		if _, err := prepared[r.Table].ExecContext(ctx, values...); err != nil {
			return fmt.Errorf("table %s: %w", t.Name, err)
		}
	}
	return nil
}
