package inbox

import (
	"context"
	"database/sql"
	"fmt"
)

// recordOverhead is about what a message weighs besides its text and payload.
const recordOverhead = 256

// pruneBySize removes the oldest of the messages that need no delivery any more, so that the others weigh no more
// than its last parameter.
const pruneBySize = `DELETE FROM inbox_messages WHERE seq < (SELECT MAX(seq) FROM inbox_messages) AND seq IN (
	SELECT seq FROM (
		SELECT seq, sum(? + octet_length(text) + coalesce(length(payload), 0)) OVER (ORDER BY seq DESC) AS kept
		FROM inbox_messages m WHERE NOT coalesce(` + undelivered + `, false)
	) WHERE kept > ?)`

// Prune removes records older than Retention, and messages that were delivered beyond 64 MiB of them, and returns
// how many. The newest message stays whatever its age, so that
// Seq goes on growing in a file that is restored from its rows.
func (in *Inbox) Prune(ctx context.Context) (int64, error) {
	before := in.now().Add(-Retention).UnixMilli()
	var total int64
	for _, stmt := range []struct {
		query string
		args  []any
	}{
		{`DELETE FROM inbox_messages WHERE received_at < ? AND seq < (SELECT MAX(seq) FROM inbox_messages)`, []any{before}},
		{`DELETE FROM inbox_sends WHERE created_at < ?`, []any{before}},
		{`DELETE FROM inbox_history WHERE received_at < ?`, []any{before}},
		{pruneBySize, []any{recordOverhead, 0, deliverAfter, in.keep}},
	} {
		res, err := in.db.ExecContext(ctx, stmt.query, stmt.args...)
		if err != nil {
			return total, fmt.Errorf("prune inbox: %w", err)
		}
		n, err := res.RowsAffected()
		if err != nil {
			return total, fmt.Errorf("prune inbox: %w", err)
		}
		total += n
	}
	return total, in.compactDeliveries(ctx)
}

// maybePrune prunes once per pruneEvery. A failed attempt is left to the next one: an old record does no harm.
func (in *Inbox) maybePrune(ctx context.Context) {
	in.mu.Lock()
	now := in.now()
	due := now.Sub(in.lastPrune) >= pruneEvery
	if due {
		in.lastPrune = now
	}
	in.mu.Unlock()
	if !due {
		return
	}
	if _, err := in.Prune(ctx); err != nil {
		in.mu.Lock()
		in.lastPrune = now.Add(-pruneEvery)
		in.mu.Unlock()
	}
}

// skippedTo is the mark that holds the number behind which messages go on after SkipAhead. The counter itself is not
// replicated: a file that is restored from its rows goes on from the highest of them.
const skippedTo = "skipped_to"

// SkipAhead raises the next Seq by n. A safe restore calls it: messages stored after the copy was taken may have been
// shown under numbers that would otherwise be given out again.
func (in *Inbox) SkipAhead(ctx context.Context, n int64) error {
	tx, err := in.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("skip inbox numbers: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it does nothing, and without it the first error is the one to report
	if _, err := tx.ExecContext(ctx, `UPDATE sqlite_sequence SET seq = seq + ? WHERE name = 'inbox_messages'`, n); err != nil {
		return fmt.Errorf("skip inbox numbers: %w", err)
	}
	const put = `INSERT INTO inbox_marks (name, value) SELECT ?, seq FROM sqlite_sequence WHERE name = 'inbox_messages'
		ON CONFLICT (name) DO UPDATE SET value = excluded.value`
	if _, err := tx.ExecContext(ctx, put, skippedTo); err != nil {
		return fmt.Errorf("skip inbox numbers: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("skip inbox numbers: %w", err)
	}
	return nil
}

// stayAhead has a restored file go on behind the numbers that were skipped.
func stayAhead(ctx context.Context, tx *sql.Tx) error {
	const raise = `UPDATE sqlite_sequence SET seq = f.floor
		FROM (SELECT CAST(value AS INTEGER) AS floor FROM inbox_marks WHERE name = ?) f
		WHERE name = 'inbox_messages' AND seq < f.floor`
	_, err := tx.ExecContext(ctx, raise, skippedTo)
	return err
}
