package capture

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"cloudsession/shared/sessionlog"
)

// maxAge is how long a table with a since rule keeps a row replicated (C2).
const maxAge = 24 * time.Hour

// credentialTables hold what a session's credentials are made from.
var credentialTables = []string{"whatsmeow_device", "whatsmeow_app_state_sync_keys"}

// Delta reads the rows that changed and were not acknowledged, in one read
// transaction. The bool is false, and the Changes empty, if there are none.
// ErrNeedBase tells that a Base has to be pushed instead.
func (f *File) Delta(ctx context.Context) (Changes, bool, error) {
	c, dirty, err := f.changes(ctx, false)
	if err != nil {
		return Changes{}, false, fmt.Errorf("read delta: %w", corrupt(err))
	}
	return c, dirty, nil
}

// Base reads all rows, with the statements that make their tables.
func (f *File) Base(ctx context.Context) (Changes, error) {
	c, _, err := f.changes(ctx, true)
	if err != nil {
		return Changes{}, fmt.Errorf("read base: %w", corrupt(err))
	}
	return c, nil
}

func (f *File) changes(ctx context.Context, base bool) (c Changes, dirty bool, err error) {
	l, err := f.currentLayout(ctx)
	if err != nil {
		return Changes{}, false, err
	}
	if !base {
		if dirty, err = f.needsDelta(ctx); err != nil || !dirty {
			return Changes{}, false, err
		}
	}
	number, err := f.nextGeneration(ctx)
	if err != nil {
		return Changes{}, false, err
	}
	r := reader{layout: l, base: base, oldest: time.Now().Add(-maxAge).UnixMilli()}
	err = f.readTx(ctx, func(tx *sql.Tx) error {
		c, err = r.read(ctx, tx)
		return err
	})
	c.Mark.Number = number
	return c, len(c.Mark.Tables) > 0, err
}

// needsDelta reports whether anything is dirty.
func (f *File) needsDelta(ctx context.Context) (dirty bool, err error) {
	err = f.readTx(ctx, func(tx *sql.Tx) error {
		var needBase bool
		if err := tx.QueryRowContext(ctx, "SELECT need_base FROM "+stateTable).Scan(&needBase); err != nil {
			return err
		}
		if needBase {
			return ErrNeedBase
		}
		dirty, err = anyDirty(ctx, tx)
		return err
	})
	return dirty, err
}

// nextGeneration ends the running generation and returns its number. Since the
// transaction is immediate, every change noted under that number is committed
// when a read begins after it, and every other change has a higher one.
func (f *File) nextGeneration(ctx context.Context) (ended int64, err error) {
	err = f.quietTx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE "+generationTable+" SET n = n + 1")
		if err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, "SELECT n - 1 FROM "+generationTable).Scan(&ended)
	})
	return ended, err
}

// currentLayout returns the captured tables as installed.
func (f *File) currentLayout(ctx context.Context) (*layout, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.layout != nil {
		return f.layout, nil
	}
	var l *layout
	err := f.readTx(ctx, func(tx *sql.Tx) (err error) {
		if l, err = readLayout(ctx, tx); err != nil {
			return err
		}
		return l.checkInstalled(ctx, tx)
	})
	if err != nil {
		return nil, err
	}
	f.layout = l
	return l, nil
}

func (f *File) setLayout(l *layout) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.layout = l
}

// checkInstalled returns ErrNotInstalled unless the triggers are those of l.
func (l *layout) checkInstalled(ctx context.Context, tx *sql.Tx) error {
	var stored string
	if err := tx.QueryRowContext(ctx, "SELECT schema FROM "+stateTable).Scan(&stored); err != nil {
		return err
	}
	have, err := ownObjects(ctx, tx)
	if err != nil {
		return err
	}
	for i := range l.tables {
		if !matches(have, l.tables[i].objects()) {
			return fmt.Errorf("%w: table %s", ErrNotInstalled, l.tables[i].Name)
		}
	}
	if stored != l.fingerprint() {
		return fmt.Errorf("%w: the tables have changed", ErrNotInstalled)
	}
	return nil
}

// anyDirty reports whether any change is noted, also in a file whose layout
// isn't known.
func anyDirty(ctx context.Context, tx *sql.Tx) (bool, error) {
	names, err := dirtyTables(ctx, tx)
	if err != nil || len(names) == 0 {
		return false, err
	}
	var dirty bool
	err = tx.QueryRowContext(ctx, "SELECT "+strings.Join(existsEach(names), " OR ")).Scan(&dirty)
	return dirty, err
}

// dirtyTables returns the names of the captured tables that have a dirty table.
func dirtyTables(ctx context.Context, q querier) (names []string, err error) {
	rows, err := q.QueryContext(ctx, "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
	if err != nil {
		return nil, err
	}
	err = scanAll(rows, func() error {
		var name string
		if err := rows.Scan(&name); err != nil {
			return err
		}
		if of, ok := strings.CutPrefix(name, dirtyTable("")); ok {
			names = append(names, of)
		}
		return nil
	})
	return names, err
}

// existsEach returns an expression a table: whether its dirty table has a row.
func existsEach(names []string) []string {
	parts := make([]string, len(names))
	for i, name := range names {
		parts[i] = "EXISTS (SELECT 1 FROM " + quote(dirtyTable(name)) + ")"
	}
	return parts
}

// reader reads the rows of a push in one transaction.
type reader struct {
	layout *layout
	base   bool
	oldest int64 // milliseconds since 1970: rows with a since rule that are older are left out
}

func (r *reader) read(ctx context.Context, tx *sql.Tx) (Changes, error) {
	l := r.layout
	c := Changes{
		Push: sessionlog.Push{Base: r.base, SchemaVersion: l.version, SchemaCompat: l.compat},
		Mark: Mark{Schema: l.fingerprint()},
	}
	if r.base {
		c.Push.Schema = slices.Clone(l.ddl)
	}
	dirty, err := r.dirty(ctx, tx)
	if err != nil {
		return Changes{}, err
	}
	for i := range l.tables {
		t := &l.tables[i]
		if dirty[i] {
			c.Mark.Tables = append(c.Mark.Tables, t.Name)
		}
		if !r.base && !dirty[i] {
			continue
		}
		if err := r.table(ctx, tx, t, &c.Push); err != nil {
			return Changes{}, fmt.Errorf("table %s: %w", t.Name, err)
		}
		c.CredentialsChanged = c.CredentialsChanged || slices.Contains(credentialTables, t.Name)
	}
	if l.find("whatsmeow_device") != nil {
		err = tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM whatsmeow_device)").Scan(&c.HasDevice)
	}
	return c, err
}

// dirty tells for each captured table whether changes are noted.
func (r *reader) dirty(ctx context.Context, tx *sql.Tx) ([]bool, error) {
	tables := r.layout.tables
	dirty := make([]bool, len(tables))
	if len(tables) == 0 {
		return dirty, nil
	}
	names := make([]string, len(tables))
	into := make([]any, len(tables))
	for i := range tables {
		names[i], into[i] = tables[i].Name, &dirty[i]
	}
	err := tx.QueryRowContext(ctx, "SELECT "+strings.Join(existsEach(names), ", ")).Scan(into...)
	return dirty, err
}

// table appends t's records to p.
func (r *reader) table(ctx context.Context, tx *sql.Tx, t *table, p *sessionlog.Push) (err error) {
	query, args := t.deltaQuery(r.oldest)
	if r.base {
		query, args = t.baseQuery(r.oldest)
	}
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	first := len(p.Records)
	for rows.Next() {
		record, err := t.scan(rows)
		if err != nil {
			return err
		}
		record.Table = len(p.Tables)
		p.Records = append(p.Records, record)
	}
	if r.base || len(p.Records) > first { // in a base an empty table says that it is empty
		p.Tables = append(p.Tables, t.Table)
	}
	return rows.Err()
}
