package inbox

import (
	"context"
	"errors"
	"fmt"
)

// History is the phone's announcement that it has put a piece of message history up for download.
type History struct {
	ID           string // the message id of the announcement
	Notification []byte // a marshalled waE2E.HistorySyncNotification; it holds the media key
	Attempts     int
}

// AddHistory stores an announcement, unless it is there already. It is kept until RemoveHistory.
func (in *Inbox) AddHistory(ctx context.Context, id string, notification []byte) error {
	if id == "" {
		return errors.New("store history announcement: id is needed")
	}
	const insert = `INSERT INTO inbox_history (id, notification, received_at) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING`
	if _, err := in.db.ExecContext(ctx, insert, id, notification, in.now().UnixMilli()); err != nil {
		return fmt.Errorf("store history announcement: %w", err)
	}
	return nil
}

// PendingHistory returns up to limit announcements that are still to be handled, those with the fewest attempts first.
func (in *Inbox) PendingHistory(ctx context.Context, limit int) ([]History, error) {
	const query = `SELECT id, notification, attempts FROM inbox_history ORDER BY attempts, received_at, id LIMIT ?`
	rows, err := in.db.QueryContext(ctx, query, limit)
	if err != nil {
		return nil, fmt.Errorf("read history announcements: %w", err)
	}
	defer rows.Close() //nolint:errcheck // rows.Err below reports what matters
	var list []History
	for rows.Next() {
		var h History
		if err := rows.Scan(&h.ID, &h.Notification, &h.Attempts); err != nil {
			return nil, fmt.Errorf("read history announcements: %w", err)
		}
		list = append(list, h)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read history announcements: %w", err)
	}
	return list, nil
}

// CountHistoryAttempt notes that handling an announcement failed once more.
func (in *Inbox) CountHistoryAttempt(ctx context.Context, id string) error {
	if _, err := in.db.ExecContext(ctx, `UPDATE inbox_history SET attempts = attempts + 1 WHERE id = ?`, id); err != nil {
		return fmt.Errorf("count history attempt: %w", err)
	}
	return nil
}

// RemoveHistory forgets an announcement: it was handled, or given up.
func (in *Inbox) RemoveHistory(ctx context.Context, id string) error {
	if _, err := in.db.ExecContext(ctx, `DELETE FROM inbox_history WHERE id = ?`, id); err != nil {
		return fmt.Errorf("remove history announcement: %w", err)
	}
	return nil
}
