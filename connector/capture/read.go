package capture

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
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
	return f.DeltaUpTo(ctx, math.MaxInt)
}

// DeltaUpTo is Delta for changes that weigh about so many bytes at most. It
// returns ErrLong if they weigh more, and has read no more of them than that. A
// part of them is never returned: it would be a state that the session never had.
func (f *File) DeltaUpTo(ctx context.Context, bytes int) (Changes, bool, error) {
	c, dirty, err := f.changes(ctx, false, bytes)
	if err != nil {
		return Changes{}, false, fmt.Errorf("read delta: %w", corrupt(err))
	}
	return c, dirty, nil
}

// Base reads all rows, with the statements that make their tables.
func (f *File) Base(ctx context.Context) (Changes, error) {
	return f.BaseUpTo(ctx, math.MaxInt)
}

// BaseUpTo is Base for rows that weigh about so many bytes at most. It returns
// ErrLong if they weigh more, and has read no more of them than that.
func (f *File) BaseUpTo(ctx context.Context, bytes int) (Changes, error) {
	c, _, err := f.changes(ctx, true, bytes)
	if err != nil {
		return Changes{}, fmt.Errorf("read base: %w", corrupt(err))
	}
	return c, nil
}

func (f *File) changes(ctx context.Context, base bool, bytes int) (c Changes, dirty bool, err error) {
	l, err := f.currentLayout(ctx)
	if err != nil {
		return Changes{}, false, err
	}
	r := reader{layout: l, oldest: time.Now().Add(-maxAge).UnixMilli(), room: bytes}
	if base {
		c, err = f.readBase(ctx, &r)
		return c, true, err
	}
	err = f.quietTx(ctx, func(tx *sql.Tx) error {
		c, dirty, err = r.delta(ctx, tx)
		return err
	})
	return c, dirty, err
}

// readBase ends the generation first, then reads: a base takes its time, and
// a read transaction keeps nobody from writing. Since the first transaction is
// immediate, all changes of the ended generation are committed before the
// second begins, and any other change has a higher number.
func (f *File) readBase(ctx context.Context, r *reader) (c Changes, err error) {
	var number int64
	err = f.quietTx(ctx, func(tx *sql.Tx) error {
		number, err = nextGeneration(ctx, tx)
		return err
	})
	if err != nil {
		return Changes{}, err
	}
	err = f.readTx(ctx, func(tx *sql.Tx) error {
		s, err := r.status(ctx, tx)
		if err != nil {
			return err
		}
		c, err = r.read(ctx, tx, s, true)
		return err
	})
	c.Mark.Number = number
	return c, err
}

// nextGeneration ends the running generation and returns its number.
func nextGeneration(ctx context.Context, tx *sql.Tx) (ended int64, err error) {
	if _, err := tx.ExecContext(ctx, "UPDATE "+generationTable+" SET n = n + 1"); err != nil {
		return 0, err
	}
	err = tx.QueryRowContext(ctx, "SELECT n - 1 FROM "+generationTable).Scan(&ended)
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
	var replayed bool
	if err := tx.QueryRowContext(ctx, "SELECT schema, replayed FROM "+stateTable).Scan(&stored, &replayed); err != nil {
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
	if stored != l.fingerprint {
		return fmt.Errorf("%w: the tables have changed", ErrNotInstalled)
	}
	if replayed {
		return fmt.Errorf("%w: the file was made from a base and its triggers note nothing yet", ErrNotInstalled)
	}
	return nil
}

// anyDirty reports whether any change is noted, also in a file whose layout
// isn't known.
func anyDirty(ctx context.Context, tx *sql.Tx) (dirty bool, err error) {
	names, err := tableNames(ctx, tx)
	if err != nil {
		return false, err
	}
	var noted []string // captured tables that have a dirty table
	for _, name := range names {
		if of, ok := strings.CutPrefix(name, dirtyTable("")); ok {
			noted = append(noted, of)
		}
	}
	if len(noted) == 0 {
		return false, nil
	}
	err = tx.QueryRowContext(ctx, "SELECT "+strings.Join(existsEach(noted), " OR ")).Scan(&dirty)
	return dirty, err
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
	oldest int64 // milliseconds since 1970: rows with a since rule that are older are left out
	room   int   // bytes that may still be read
}

// status is what a push depends on besides its rows.
type status struct {
	needBase, hasDevice bool
	dirty               []bool // for each captured table
}

// status reads all of it with one statement.
func (r *reader) status(ctx context.Context, tx *sql.Tx) (status, error) {
	tables := r.layout.tables
	s := status{dirty: make([]bool, len(tables))}
	names := make([]string, len(tables))
	into := []any{&s.needBase, &s.hasDevice}
	for i := range tables {
		names[i] = tables[i].Name
		into = append(into, &s.dirty[i])
	}
	device := "false"
	if r.layout.find("whatsmeow_device") != nil {
		device = "EXISTS (SELECT 1 FROM whatsmeow_device)"
	}
	columns := append([]string{"need_base", device}, existsEach(names)...)
	query := "SELECT " + strings.Join(columns, ", ") + " FROM " + stateTable
	return s, tx.QueryRowContext(ctx, query).Scan(into...)
}

// delta reads the changes and ends their generation. The transaction is
// immediate, so no change can get an old number afterwards.
func (r *reader) delta(ctx context.Context, tx *sql.Tx) (Changes, bool, error) {
	s, err := r.status(ctx, tx)
	if err != nil {
		return Changes{}, false, err
	}
	if s.needBase {
		return Changes{}, false, ErrNeedBase
	}
	if !slices.Contains(s.dirty, true) {
		return Changes{}, false, nil
	}
	c, err := r.read(ctx, tx, s, false)
	if err != nil {
		return Changes{}, false, err
	}
	c.Mark.Number, err = nextGeneration(ctx, tx)
	return c, true, err
}

// read reads all rows for a base, the changed ones otherwise.
func (r *reader) read(ctx context.Context, tx *sql.Tx, s status, base bool) (Changes, error) {
	l := r.layout
	c := Changes{
		Push:      sessionlog.Push{Base: base, SchemaVersion: l.version, SchemaCompat: l.compat},
		Mark:      Mark{Schema: l.fingerprint},
		HasDevice: s.hasDevice,
	}
	if base {
		c.Push.Schema = slices.Clone(l.ddl)
	}
	for i := range l.tables {
		t := &l.tables[i]
		if s.dirty[i] {
			c.Mark.Tables = append(c.Mark.Tables, t.Name)
		}
		if !base && !s.dirty[i] {
			continue
		}
		if err := r.table(ctx, tx, t, &c.Push); err != nil {
			return Changes{}, fmt.Errorf("table %s: %w", t.Name, err)
		}
		c.CredentialsChanged = c.CredentialsChanged || slices.Contains(credentialTables, t.Name)
	}
	return c, nil
}

// table appends t's records to p.
func (r *reader) table(ctx context.Context, tx *sql.Tx, t *table, p *sessionlog.Push) (err error) {
	query, args := t.deltaQuery(r.oldest)
	if p.Base {
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
		if r.room -= weigh(record); r.room < 0 {
			return ErrLong
		}
		record.Table = len(p.Tables)
		p.Records = append(p.Records, record)
	}
	if p.Base || len(p.Records) > first { // in a base an empty table says that it is empty
		p.Tables = append(p.Tables, t.Table)
	}
	return rows.Err()
}
