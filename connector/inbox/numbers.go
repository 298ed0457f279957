package inbox

import (
	"context"
	"database/sql"
	"fmt"
)

// Numbers of messages (Seq) are given out by the file, and readers go on behind the last one they saw: one must never be
// given out twice, nor one below those that were. A copy of the file may lack the newest messages, or all of them. So a
// term that doesn't begin with the last state has its numbers from its epoch, which only grows: above all that earlier
// terms can have used, unless a billion messages came in since one last did so.
const (
	termNumbers = 1 << 30
	lastTerm    = 1 << 23 // the last epoch that has numbers of its own: JSON's are exact up to 2^53
	// skipGap is by how much numbers are raised where the epoch's are used already: in the terms after that, and when
	// a start is made twice.
	skipGap = 1000
)

// skippedTo is the mark that holds the number behind which messages go on after SkipAhead. The counter itself is not
// replicated: a file that is restored from its rows goes on from the highest of them.
const skippedTo = "skipped_to"

// SkipAhead raises the next Seq above all that terms before the given epoch can have shown. It has to be called in each
// term that doesn't begin with the last state, before its first message.
func (in *Inbox) SkipAhead(ctx context.Context, epoch uint64) error {
	tx, err := in.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("skip inbox numbers: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it does nothing, and without it the first error is the one to report
	last, err := lastNumber(ctx, tx)
	if err != nil {
		return fmt.Errorf("skip inbox numbers: %w", err)
	}
	floor := int64(min(max(epoch, 1), lastTerm)-1) * termNumbers
	if last >= floor && last > 0 {
		floor = last + skipGap
	}
	if floor == 0 {
		return nil // nobody has seen a number
	}
	if err := raise(ctx, tx, floor); err != nil {
		return fmt.Errorf("skip inbox numbers: %w", err)
	}
	const put = `INSERT INTO inbox_marks (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value`
	if _, err := tx.ExecContext(ctx, put, skippedTo, floor); err != nil {
		return fmt.Errorf("skip inbox numbers: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("skip inbox numbers: %w", err)
	}
	return nil
}

// lastNumber is the last one given out, or skipped. SQLite notes it with the first message.
func lastNumber(ctx context.Context, tx *sql.Tx) (last int64, err error) {
	const query = `SELECT coalesce(MAX(seq), 0) FROM sqlite_sequence WHERE name = 'inbox_messages'`
	err = tx.QueryRowContext(ctx, query).Scan(&last)
	return last, err
}

// raise has the file go on behind floor, if it isn't further already.
func raise(ctx context.Context, tx *sql.Tx, floor int64) error {
	const note = `INSERT INTO sqlite_sequence (name, seq) SELECT 'inbox_messages', 0
		WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'inbox_messages')`
	if _, err := tx.ExecContext(ctx, note); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `UPDATE sqlite_sequence SET seq = ? WHERE name = 'inbox_messages' AND seq < ?`, floor, floor)
	return err
}

// stayAhead has a restored file go on behind the numbers that were skipped.
func stayAhead(ctx context.Context, tx *sql.Tx) error {
	var floor int64
	const query = `SELECT coalesce(MAX(CAST(value AS INTEGER)), 0) FROM inbox_marks WHERE name = ?`
	if err := tx.QueryRowContext(ctx, query, skippedTo).Scan(&floor); err != nil || floor == 0 {
		return err
	}
	return raise(ctx, tx, floor)
}
