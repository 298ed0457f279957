package capture

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"

	"cloudsession/shared/sessionlog"
)

// Create makes a file at path, where none must be yet, with the tables and
// triggers of a base, but without its rows: they come by Replay, and those of
// the deltas after it. Then follow Check, whatsmeow's Upgrade, and Install. Until
// Install the triggers note nothing.
//
// ErrSchema tells that the base's statements make something else than captured
// tables. After an error what stands at path is of no use.
func Create(ctx context.Context, path string, base sessionlog.Push, o Options) (*File, error) {
	if !base.Base {
		return nil, errors.New("create session file: the push is no base")
	}
	image, err := templates.image(ctx, path, base)
	if err != nil {
		return nil, fmt.Errorf("create session file: %w", err)
	}
	if err := writeNew(path, image); err != nil {
		return nil, fmt.Errorf("create session file: %w", err)
	}
	return Open(ctx, path, o)
}

// Replay puts pushes into a file that Create made and that has not been installed
// since, in one transaction with foreign keys off (L3). Commit or Rollback ends
// it. It is not safe for concurrent use.
type Replay struct {
	conn   *sql.Conn
	tx     *sql.Tx
	layout *layout

	pending pending
}

// Replay begins to put pushes into f.
func (f *File) Replay(ctx context.Context) (*Replay, error) {
	f.setLayout(nil)
	c, err := f.db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("replay: %w", err)
	}
	r := &Replay{conn: c}
	if err := r.begin(ctx); err != nil {
		return nil, fmt.Errorf("replay: %w", errors.Join(corrupt(err), r.Rollback()))
	}
	return r, nil
}

func (r *Replay) begin(ctx context.Context) (err error) {
	// This can't change inside a transaction.
	if _, err := r.conn.ExecContext(ctx, "PRAGMA foreign_keys = OFF"); err != nil {
		return err
	}
	if r.tx, err = r.conn.BeginTx(ctx, nil); err != nil {
		return err
	}
	if err := refuseInstalled(ctx, r.tx); err != nil {
		return err
	}
	r.layout, err = readLayout(ctx, r.tx)
	return err
}

// Apply puts one push into the file: the base first, then its deltas in order.
// ErrSchema tells that it has tables or columns the file lacks. What does not fit
// otherwise may show only in a later Apply, or in Commit. After an error only
// Rollback is of use.
func (r *Replay) Apply(ctx context.Context, p sessionlog.Push) error {
	if err := r.apply(ctx, p); err != nil {
		return fmt.Errorf("apply push: %w", corrupt(err))
	}
	return nil
}

func (r *Replay) apply(ctx context.Context, p sessionlog.Push) error {
	tables := make([]*table, len(p.Tables))
	for i := range p.Tables {
		t, err := r.layout.accept(p, &p.Tables[i])
		if err != nil {
			return err
		}
		tables[i] = t
	}
	insert := make([]string, len(tables))
	for _, record := range p.Records {
		i := record.Table
		if i < 0 || i >= len(tables) {
			return fmt.Errorf("%w: record of table number %d", ErrSchema, i)
		}
		if !p.Base {
			r.pending.add(tables[i], record)
			continue
		}
		if insert[i] == "" {
			insert[i] = insertStatement(tables[i]) // the connection keeps it prepared
		}
		if _, err := r.tx.ExecContext(ctx, insert[i], record.Row...); err != nil {
			return fmt.Errorf("table %s: %w", tables[i].Name, err)
		}
	}
	if r.pending.count >= maxPending {
		return r.flush(ctx)
	}
	return nil
}

// flush deletes every row that the pending records name and inserts those that
// exist. All go before any come, since a row may take over another one's unique
// value.
func (r *Replay) flush(ctx context.Context) error {
	err := r.pending.each(deleteStatement, func(text string, record sessionlog.Record) error {
		_, err := r.tx.ExecContext(ctx, text, record.Key...)
		return err
	})
	if err != nil {
		return err
	}
	err = r.pending.each(insertStatement, func(text string, record sessionlog.Record) error {
		if record.Row == nil {
			return nil
		}
		_, err := r.tx.ExecContext(ctx, text, record.Row...)
		return err
	})
	r.pending = pending{}
	return err
}

// Commit makes what was applied the file's.
func (r *Replay) Commit(ctx context.Context) error {
	if err := r.flush(ctx); err != nil {
		return fmt.Errorf("replay: %w", errors.Join(corrupt(err), r.Rollback()))
	}
	if err := errors.Join(r.tx.Commit(), r.release()); err != nil {
		return fmt.Errorf("replay: %w", corrupt(err))
	}
	return nil
}

// Rollback gives up what was applied.
func (r *Replay) Rollback() error {
	var err error
	if r.tx != nil {
		err = r.tx.Rollback()
	}
	return errors.Join(err, r.release())
}

// release gives the connection back. In the pool nobody expects one without
// foreign keys: it is closed if it can't be set back.
func (r *Replay) release() error {
	_, err := r.conn.ExecContext(context.Background(), "PRAGMA foreign_keys = ON")
	if err == nil {
		return r.conn.Close()
	}
	bad := r.conn.Raw(func(any) error { return driver.ErrBadConn }) // which closes it
	if errors.Is(bad, driver.ErrBadConn) {
		bad = nil
	}
	return errors.Join(err, bad)
}

// refuseInstalled returns an error unless the file is one that Create made:
// elsewhere triggers would note every row as changed here.
func refuseInstalled(ctx context.Context, tx *sql.Tx) error {
	replayed, err := isReplayed(ctx, tx)
	if err != nil {
		return err
	}
	if !replayed {
		return errors.New("the file was not made from a base, or capture is installed in it")
	}
	return nil
}

// accept returns the file's table of the name. ErrSchema is returned unless t is
// a captured table with the same columns and key as the file's.
func (l *layout) accept(p sessionlog.Push, t *sessionlog.Table) (*table, error) {
	versions := fmt.Sprintf("push of schema version %d, file of version %d", p.SchemaVersion, l.version)
	have := l.find(t.Name)
	if have == nil {
		return nil, fmt.Errorf("%w: unknown table %q (%s)", ErrSchema, t.Name, versions)
	}
	if !slices.Equal(have.Columns, t.Columns) || !slices.Equal(have.Key, t.Key) {
		return nil, fmt.Errorf("%w: table %s has other columns (%s)", ErrSchema, t.Name, versions)
	}
	return have, nil
}
