package capture

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"cloudsession/shared/sessionlog"
)

// versionTable is where whatsmeow's store keeps its schema version. It isn't
// captured: a push carries the numbers.
const versionTable = "whatsmeow_version"

// captured reports whether rows of the named table are replicated.
func captured(name string) bool {
	return strings.HasPrefix(name, "whatsmeow_") && name != versionTable || strings.HasPrefix(name, "inbox_")
}

// layout is what the captured tables of a file look like. It is not changed once
// it was read: files of one schema share it.
type layout struct {
	version, compat int // of whatsmeow_version, zero without one
	tables          []table
	ddl             []string // tables, then indexes, each by name
	fingerprint     string   // changes whenever a delta would no longer fit what came before it
}

// table describes a captured table.
type table struct {
	sessionlog.Table
	nullable []bool // for each of Key: the declaration allows NULL
	rowid    bool   // the key is an alias of the rowid
	rules    rules
}

// rules say how a table's rows are replicated.
type rules struct {
	quiet       string // column whose changes alone aren't noted: a copy may hold an older value
	since       string // column of milliseconds since 1970: rows older than maxAge aren't replicated
	changesOnly bool   // updates that change nothing are common: don't note them
}

// tableRules holds the tables that aren't replicated plainly. C2: buffered
// incoming events matter only as long as the service may repeat a message. The
// plaintext goes with them: a message that was decrypted and not yet stored can't
// be decrypted again where its ratchet has moved. Once it is stored whatsmeow
// empties the plaintext, which isn't worth a push of its own: the inbox knows the
// message when it comes again. whatsmeow marks all prekeys up to an id as
// uploaded, most of which are so already.
var tableRules = map[string]rules{
	"whatsmeow_event_buffer": {quiet: "plaintext", since: "insert_timestamp"},
	"whatsmeow_pre_keys":     {changesOnly: true},
}

// querier is a transaction, a connection or a database.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// readLayout reads the captured tables of a file. It returns ErrSchema for a
// table that can't be captured.
func readLayout(ctx context.Context, q querier) (*layout, error) {
	l := &layout{}
	names, err := l.readDDL(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("read schema: %w", err)
	}
	if l.version, l.compat, err = readVersion(ctx, q); err != nil {
		return nil, fmt.Errorf("read schema version: %w", err)
	}
	l.setFingerprint()
	if known := layouts.find(l); known != nil {
		return known, nil
	}
	for _, name := range names {
		t, err := readTable(ctx, q, name)
		if err != nil {
			return nil, fmt.Errorf("read schema of %s: %w", name, err)
		}
		l.tables = append(l.tables, t)
	}
	layouts.keep(l)
	return l, nil
}

// readDDL collects the statements that made the captured tables and their
// indexes, and returns the tables' names.
func (l *layout) readDDL(ctx context.Context, q querier) (names []string, err error) {
	const query = `SELECT type, name, tbl_name, sql FROM sqlite_master
		WHERE type IN ('table', 'index') AND sql IS NOT NULL ORDER BY type DESC, name`
	err = scanAll(ctx, q, query, nil, func(rows *sql.Rows) error {
		var kind, name, of, text string
		if err := rows.Scan(&kind, &name, &of, &text); err != nil {
			return err
		}
		if !captured(of) {
			return nil
		}
		l.ddl = append(l.ddl, text)
		if kind == "table" {
			names = append(names, name)
		}
		return nil
	})
	return names, err
}

func readTable(ctx context.Context, q querier, name string) (table, error) {
	t := table{Table: sessionlog.Table{Name: name}, rules: tableRules[name]}
	var key []keyColumn
	const query = `SELECT name, upper(type), "notnull", pk, hidden FROM pragma_table_xinfo(?) ORDER BY cid`
	err := scanAll(ctx, q, query, []any{name}, func(rows *sql.Rows) error {
		var c keyColumn
		var kind string
		var notNull bool
		var hidden int
		if err := rows.Scan(&c.name, &kind, &notNull, &c.position, &hidden); err != nil {
			return err
		}
		if hidden != 0 {
			return fmt.Errorf("%w: generated column %s", ErrSchema, c.name)
		}
		t.Columns = append(t.Columns, c.name)
		c.nullable, c.integer = !notNull, kind == "INTEGER"
		if c.position > 0 {
			key = append(key, c)
		}
		return nil
	})
	if err != nil {
		return t, err
	}
	if len(key) == 0 {
		return t, fmt.Errorf("%w: no primary key", ErrSchema)
	}
	t.setKey(key)
	return t, nil
}

// keyColumn is a column of a primary key.
type keyColumn struct {
	name     string
	position int // in the key, from 1
	nullable bool
	integer  bool // declared INTEGER, which alone makes it an alias of the rowid
}

func (t *table) setKey(key []keyColumn) {
	slices.SortFunc(key, func(a, b keyColumn) int { return a.position - b.position })
	t.rowid = len(key) == 1 && key[0].integer
	for _, c := range key {
		t.Key = append(t.Key, c.name)
		t.nullable = append(t.nullable, c.nullable && !t.rowid)
	}
}

// readVersion returns whatsmeow's schema version, zeros before its first Upgrade.
func readVersion(ctx context.Context, q querier) (version, compat int, err error) {
	var exists bool
	err = q.QueryRowContext(ctx,
		"SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?)", versionTable).Scan(&exists)
	if err != nil || !exists {
		return 0, 0, err
	}
	err = q.QueryRowContext(ctx,
		"SELECT coalesce(version, 0), coalesce(compat, 0) FROM "+versionTable).Scan(&version, &compat)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, 0, nil
	}
	return version, compat, err
}

func (l *layout) setFingerprint() {
	h := sha256.New()
	fmt.Fprintf(h, "%d %d\n", l.version, l.compat)
	for _, text := range l.ddl {
		fmt.Fprintf(h, "%d %s\n", len(text), text)
	}
	l.fingerprint = hex.EncodeToString(h.Sum(nil)[:16])
}

// find returns the named table, nil if there is none.
func (l *layout) find(name string) *table {
	for i := range l.tables {
		if l.tables[i].Name == name {
			return &l.tables[i]
		}
	}
	return nil
}

// tableNames returns the names of all tables in the file.
func tableNames(ctx context.Context, q querier) (names []string, err error) {
	const query = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
	err = scanAll(ctx, q, query, nil, func(rows *sql.Rows) error {
		var name string
		err := rows.Scan(&name)
		names = append(names, name)
		return err
	})
	return names, err
}

// scanAll calls scan for each row that the query gives.
func scanAll(ctx context.Context, q querier, query string, args []any, scan func(*sql.Rows) error) (err error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// quote makes an SQL identifier of name.
func quote(name string) string {
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

// each joins what give returns for every one of names.
func each(names []string, each func(i int, name string) string) string {
	parts := make([]string, len(names))
	for i, name := range names {
		parts[i] = each(i, name)
	}
	return strings.Join(parts, ", ")
}
