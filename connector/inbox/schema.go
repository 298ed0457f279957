package inbox

import (
	"context"
	"database/sql"
	"fmt"
)

// The tables only grow by new statements at the end of this list: Migrate runs on files of every age.
// Every table has a NOT NULL primary key, which capture needs. Times are milliseconds since 1970, UTC.
var schema = []string{
	// seq is the local order. It never restarts (AUTOINCREMENT; Prune keeps the newest row for the same reason).
	// chat and sender are bare JIDs, the LID where it is known; *_pn the phone number JID where it is known.
	`CREATE TABLE IF NOT EXISTS inbox_messages (
		seq         INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
		chat        TEXT    NOT NULL,
		sender      TEXT    NOT NULL,
		id          TEXT    NOT NULL,
		chat_pn     TEXT    NOT NULL DEFAULT '',
		sender_pn   TEXT    NOT NULL DEFAULT '',
		from_me     INTEGER NOT NULL DEFAULT 0,
		push_name   TEXT    NOT NULL DEFAULT '',
		kind        TEXT    NOT NULL,
		text        TEXT    NOT NULL DEFAULT '',
		payload     BLOB,
		sent_at     INTEGER NOT NULL,
		received_at INTEGER NOT NULL
	)`,
	`CREATE UNIQUE INDEX IF NOT EXISTS inbox_messages_once ON inbox_messages (id, sender, chat)`,
	`CREATE INDEX IF NOT EXISTS inbox_messages_received ON inbox_messages (received_at)`,
	// text is emptied as soon as the service has taken the message.
	`CREATE TABLE IF NOT EXISTS inbox_sends (
		idempotency_key TEXT    PRIMARY KEY NOT NULL,
		id              TEXT    NOT NULL UNIQUE,
		recipient       TEXT    NOT NULL,
		text            TEXT    NOT NULL,
		digest          BLOB    NOT NULL,
		state           TEXT    NOT NULL,
		error           TEXT    NOT NULL DEFAULT '',
		attempts        INTEGER NOT NULL DEFAULT 0,
		created_at      INTEGER NOT NULL,
		sent_at         INTEGER NOT NULL DEFAULT 0
	)`,
	// Announcements of message history that still have to be fetched.
	`CREATE TABLE IF NOT EXISTS inbox_history (
		id           TEXT    PRIMARY KEY NOT NULL,
		notification BLOB    NOT NULL,
		attempts     INTEGER NOT NULL DEFAULT 0,
		received_at  INTEGER NOT NULL
	)`,
	// Facts about the session that have to survive the process and a move to another machine.
	`CREATE TABLE IF NOT EXISTS inbox_marks (
		name  TEXT PRIMARY KEY NOT NULL,
		value TEXT NOT NULL
	)`,
	// What the application has taken, by seq. A table of its own, because a mark in the message's row would send the
	// whole message to the cloud a second time.
	`CREATE TABLE IF NOT EXISTS inbox_deliveries (
		seq          INTEGER PRIMARY KEY NOT NULL,
		delivered_at INTEGER NOT NULL
	)`,
	`CREATE INDEX IF NOT EXISTS inbox_messages_chat ON inbox_messages (chat, seq)`,
}

// columns that tables got after they were first made. ALTER TABLE has no IF NOT EXISTS.
var columns = []struct{ table, name, definition string }{
	// origin is Message.Origin, empty in rows that are older than the column.
	{"inbox_messages", "origin", "TEXT NOT NULL DEFAULT ''"},
}

// Migrate creates what is missing of the inbox's tables in a session file, and has a restored one number its messages
// on from where the last one was. A change makes the next push a base (C1).
// It has to run before capture installs its triggers.
func Migrate(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("create inbox tables: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it does nothing, and without it the first error is the one to report
	for _, stmt := range schema {
		if _, err := tx.ExecContext(ctx, stmt); err != nil {
			return fmt.Errorf("create inbox tables: %w", err)
		}
	}
	for _, c := range columns {
		if err := addColumn(ctx, tx, c.table, c.name, c.definition); err != nil {
			return fmt.Errorf("create inbox tables: %w", err)
		}
	}
	if err := stayAhead(ctx, tx); err != nil {
		return fmt.Errorf("skip inbox numbers: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("create inbox tables: %w", err)
	}
	return nil
}

func addColumn(ctx context.Context, tx *sql.Tx, table, name, definition string) error {
	var there bool
	const query = `SELECT EXISTS (SELECT 1 FROM pragma_table_info(?) WHERE name = ?)`
	if err := tx.QueryRowContext(ctx, query, table, name).Scan(&there); err != nil || there {
		return err
	}
	_, err := tx.ExecContext(ctx, `ALTER TABLE `+table+` ADD COLUMN `+name+` `+definition)
	return err
}
