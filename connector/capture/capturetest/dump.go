// Package capturetest compares session files and fills them with random
// operations of whatsmeow's own store.
package capturetest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Dump returns the rows of every captured table in comparable form: one text a
// row, with each value's storage class, sorted. Rows of whatsmeow_event_buffer
// appear as far as copies agree: those of the last 24 hours, without their
// plaintext, of which a copy may hold an older value. The reading is SQLite's own, apart from capture's.
func Dump(ctx context.Context, db *sql.DB) (map[string][]string, error) {
	names, err := texts(ctx, db, `SELECT name FROM sqlite_master WHERE type = 'table'
		AND (name GLOB 'whatsmeow_*' OR name GLOB 'inbox_*') AND name <> 'whatsmeow_version'`)
	if err != nil {
		return nil, fmt.Errorf("dump session file: %w", err)
	}
	dump := make(map[string][]string, len(names))
	for _, name := range names {
		columns, err := texts(ctx, db, "SELECT name FROM pragma_table_info(?) ORDER BY cid", name)
		if err != nil {
			return nil, fmt.Errorf("dump session file: columns of %s: %w", name, err)
		}
		if dump[name], err = texts(ctx, db, rowQuery(name, columns)); err != nil {
			return nil, fmt.Errorf("dump session file: %s: %w", name, err)
		}
		slices.Sort(dump[name])
	}
	return dump, nil
}

// rowQuery makes one text of each row.
func rowQuery(name string, columns []string) string {
	parts := make([]string, len(columns))
	for i, column := range columns {
		parts[i] = fmt.Sprintf(`%[1]q || '=' || CASE typeof(%[1]q)
			WHEN 'real' THEN 'real ' || printf('%%!.20g', %[1]q)
			WHEN 'text' THEN iif(instr(%[1]q, char(0)), 'text ' || hex(%[1]q), quote(%[1]q))
			ELSE quote(%[1]q) END`, column)
		parts[i] = strings.Replace(parts[i], fmt.Sprintf("%q", column), "'"+column+"'", 1)
		if name == "whatsmeow_event_buffer" && column == "plaintext" {
			parts[i] = "'plaintext='"
		}
	}
	query := "SELECT " + strings.Join(parts, " || ' ' || ") + fmt.Sprintf(" FROM %q", name)
	if name == "whatsmeow_event_buffer" {
		query += fmt.Sprintf(" WHERE insert_timestamp >= %d", time.Now().Add(-24*time.Hour).UnixMilli())
	}
	return query
}

func texts(ctx context.Context, db *sql.DB, query string, args ...any) (all []string, err error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		all = append(all, text)
	}
	return all, rows.Err()
}
