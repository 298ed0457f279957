package inbox

import (
	"context"
	"fmt"
)

// recordOverhead is about what a message weighs besides its text and payload.
const recordOverhead = 256

// weighed is a query of messages, each with what it and the newer ones weigh. Which ones has to follow.
const weighed = `SELECT seq, sum(? + octet_length(text) + coalesce(length(payload), 0)) OVER (ORDER BY seq DESC) AS kept
	FROM inbox_messages m WHERE `

// settled picks the rows of inbox_messages m that need no delivery any more. Its parameters are those of undelivered.
const settled = `NOT coalesce(` + undelivered + `, false)`

// The newest message always stays, so that Seq goes on growing in a file that is restored from its rows.
const (
	pruneByAge = `DELETE FROM inbox_messages AS m WHERE received_at < ? AND sent_at < ? AND ` + settled + `
		AND seq < (SELECT MAX(seq) FROM inbox_messages)`
	pruneSends = `DELETE FROM inbox_sends WHERE created_at < ? AND sent_at < ? AND state <> ?`
	// pruneBySize removes the oldest of the messages that need no delivery any more, so that the others weigh no more
	// than its last parameter.
	pruneBySize = `DELETE FROM inbox_messages WHERE seq < (SELECT MAX(seq) FROM inbox_messages) AND seq IN (
		SELECT seq FROM (` + weighed + settled + `) WHERE kept > ?)`
	// pruneBacklog does so with those that still need it, but for what isn't old.
	pruneBacklog = `DELETE FROM inbox_messages WHERE received_at < ? AND sent_at < ?
		AND seq < (SELECT MAX(seq) FROM inbox_messages) AND seq IN (
		SELECT seq FROM (` + weighed + undelivered + `) WHERE kept > ?)`
	// pruneNotes removes what was noted of messages that are gone.
	pruneNotes = `DELETE FROM inbox_deliveries AS d WHERE NOT EXISTS (SELECT 1 FROM inbox_messages m WHERE m.seq = d.seq)`
)

// Prune removes what is over and older than Retention, and messages that were delivered beyond 64 MiB of them, and
// returns how many. Messages that are still to be delivered go only when they are as old and there are more than
// 64 MiB of them; sends that aren't over, and announcements of history, never do.
func (in *Inbox) Prune(ctx context.Context) (int64, error) {
	before, err := in.cutoff(ctx)
	if err != nil {
		return 0, err
	}
	var total int64
	for _, stmt := range []struct {
		query string
		args  []any
	}{
		{pruneByAge, []any{before, before, 0, deliverAfter}},
		{pruneSends, []any{before, before, string(SendPending)}},
		{pruneBySize, []any{recordOverhead, 0, deliverAfter, in.keep}},
		{pruneBacklog, []any{before, before, recordOverhead, 0, deliverAfter, in.keep}},
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
	if _, err := in.db.ExecContext(ctx, pruneNotes); err != nil {
		return total, fmt.Errorf("prune inbox: %w", err)
	}
	return total, in.compactDeliveries(ctx)
}

// cutoff is the time, in milliseconds, before which a record is older than Retention. A machine's clock alone doesn't
// say so: ahead, it would age everything at once. So the newest time that the service has told is looked at as well,
// and of a record's two times the later one counts, since the one that this machine gave it may be from before its
// clock was set. A session that hears nothing doesn't age.
func (in *Inbox) cutoff(ctx context.Context) (int64, error) {
	// The newest messages are enough, and to read the column of all would be to read their payloads.
	const told = `SELECT max(coalesce((SELECT MAX(sent_at) FROM (SELECT sent_at FROM inbox_messages ORDER BY seq DESC LIMIT 100)), 0),
		coalesce((SELECT MAX(sent_at) FROM inbox_sends), 0))`
	var newest int64
	if err := in.db.QueryRowContext(ctx, told).Scan(&newest); err != nil {
		return 0, fmt.Errorf("prune inbox: %w", err)
	}
	return min(newest, in.now().UnixMilli()) - Retention.Milliseconds(), nil
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
