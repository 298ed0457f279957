package sqlitefile

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

// copying says what to copy between two databases on one connection.
type copying struct {
	attach   string // the other database's path; it is attached as "other"
	from, to string // "main" or "other"; to is empty
	device   Device
	alone    bool // the file's only device: every row of the LID map is about it
}

// transfer copies a device's rows in one transaction. SQLite copies them itself,
// so every value keeps its type. left counts the LID mappings that stay behind.
func transfer(ctx context.Context, db *sql.DB, c copying) (rows map[string]int, left int, err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if _, err := conn.ExecContext(ctx, "ATTACH DATABASE ? AS other", c.attach); err != nil {
		return nil, 0, fmt.Errorf("attach: %w", err)
	}
	defer func() {
		_, e := conn.ExecContext(context.WithoutCancel(ctx), "DETACH DATABASE other")
		err = errors.Join(err, e)
	}()
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return nil, 0, err
	}
	rows, left, err = c.run(ctx, tx)
	if err != nil {
		return nil, 0, errors.Join(err, tx.Rollback())
	}
	return rows, left, tx.Commit()
}

func (c copying) run(ctx context.Context, tx *sql.Tx) (rows map[string]int, left int, err error) {
	var existing int
	if err := tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM "+c.to+".whatsmeow_device").Scan(&existing); err != nil {
		return nil, 0, err
	}
	if existing > 0 {
		return nil, 0, ErrDeviceExists
	}
	rows = map[string]int{}
	for _, t := range tables {
		n, err := c.table(ctx, tx, t)
		if err != nil {
			return nil, 0, fmt.Errorf("copy %s: %w", t.name, err)
		}
		rows[t.name] = n
	}
	total := 0
	if err := tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM "+c.from+"."+lidMap).Scan(&total); err != nil {
		return nil, 0, err
	}
	left = total - rows[lidMap]
	for name, n := range rows {
		if n == 0 {
			delete(rows, name)
		}
	}
	return rows, left, nil
}

func (c copying) table(ctx context.Context, tx *sql.Tx, t table) (int, error) {
	if t.owner == "" && !c.alone {
		return c.namedMappings(ctx, tx)
	}
	columns, err := texts(ctx, tx, "SELECT name FROM pragma_table_info(?, ?) ORDER BY cid", t.name, c.to)
	if err != nil {
		return 0, err
	}
	where, args := "", []any{}
	if t.owner != "" {
		where, args = " WHERE "+t.owner+" = ?", []any{c.device.JID.String()}
	}
	names := `"` + strings.Join(columns, `", "`) + `"`
	stmt := "INSERT INTO " + c.to + "." + t.name + " (" + names + ") SELECT " + names + " FROM " + c.from + "." + t.name + where //nolint:gosec // names of ours and of whatsmeow's columns
	result, err := tx.ExecContext(ctx, stmt, args...)
	if err != nil {
		return 0, err
	}
	n, err := result.RowsAffected()
	return int(n), err
}

// addresses are the columns in which a device's rows name accounts.
var addresses = []struct{ table, owner, column string }{
	{"whatsmeow_identity_keys", "our_jid", "their_id"},
	{"whatsmeow_sessions", "our_jid", "their_id"},
	{"whatsmeow_sender_keys", "our_jid", "sender_id"},
	{"whatsmeow_contacts", "our_jid", "their_jid"},
	{"whatsmeow_chat_settings", "our_jid", "chat_jid"},
	{"whatsmeow_message_secrets", "our_jid", "chat_jid"},
	{"whatsmeow_message_secrets", "our_jid", "sender_jid"},
	{"whatsmeow_privacy_tokens", "our_jid", "their_jid"},
	{"whatsmeow_retry_buffer", "our_jid", "chat_jid"},
}

// namedMappings copies the LID mappings of accounts that the device's rows name:
// the rest are of other devices' contacts, and none of this session's business.
func (c copying) namedMappings(ctx context.Context, tx *sql.Tx) (int, error) {
	named := map[string]bool{c.device.JID.User: true, c.device.LID.User: true}
	for _, a := range addresses {
		list, err := texts(ctx, tx, "SELECT DISTINCT "+a.column+" FROM "+c.from+"."+a.table+" WHERE "+a.owner+" = ?", c.device.JID.String())
		if err != nil {
			return 0, err
		}
		for _, text := range list {
			// user[_agent]:device of Signal, or user[:device]@server
			if end := strings.IndexAny(text, "_:@"); end > 0 {
				named[text[:end]] = true
			}
		}
	}
	pairs, err := texts(ctx, tx, "SELECT lid || ' ' || pn FROM "+c.from+"."+lidMap)
	if err != nil {
		return 0, err
	}
	copied := 0
	for _, pair := range pairs {
		lid, pn, _ := strings.Cut(pair, " ")
		if !named[lid] && !named[pn] {
			continue
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO "+c.to+"."+lidMap+" (lid, pn) VALUES (?, ?)", lid, pn); err != nil { //nolint:gosec // constant names
			return 0, err
		}
		copied++
	}
	return copied, nil
}

func texts(ctx context.Context, tx *sql.Tx, query string, args ...any) (all []string, err error) {
	rows, err := tx.QueryContext(ctx, query, args...)
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
