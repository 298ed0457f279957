package inbox

import (
	"context"
	"fmt"
)

// Prune removes records older than Retention and returns how many. The newest message stays whatever its age, so that
// Seq goes on growing in a file that is restored from its rows.
func (in *Inbox) Prune(ctx context.Context) (int64, error) {
	before := in.now().Add(-Retention).UnixMilli()
	var total int64
	for _, stmt := range []string{
		`DELETE FROM inbox_messages WHERE received_at < ? AND seq < (SELECT MAX(seq) FROM inbox_messages)`,
		`DELETE FROM inbox_sends WHERE created_at < ?`,
		`DELETE FROM inbox_history WHERE received_at < ?`,
	} {
		res, err := in.db.ExecContext(ctx, stmt, before)
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

// SkipAhead raises the next Seq by n. A safe restore calls it: messages stored after the copy was taken may have been
// shown under numbers that would otherwise be given out again.
func (in *Inbox) SkipAhead(ctx context.Context, n int64) error {
	_, err := in.db.ExecContext(ctx, `UPDATE sqlite_sequence SET seq = seq + ? WHERE name = 'inbox_messages'`, n)
	if err != nil {
		return fmt.Errorf("skip inbox numbers: %w", err)
	}
	return nil
}
