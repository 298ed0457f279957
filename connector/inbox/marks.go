package inbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// SetMark notes a fact about the session under a name, in place of what was noted before. It is replicated.
func (in *Inbox) SetMark(ctx context.Context, name, value string) error {
	const put = `INSERT INTO inbox_marks (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value`
	if _, err := in.db.ExecContext(ctx, put, name, value); err != nil {
		return fmt.Errorf("note %s: %w", name, err)
	}
	return nil
}

// Mark returns what is noted under a name; ok is false when nothing is.
func (in *Inbox) Mark(ctx context.Context, name string) (value string, ok bool, err error) {
	err = in.db.QueryRowContext(ctx, `SELECT value FROM inbox_marks WHERE name = ?`, name).Scan(&value)
	if errors.Is(err, sql.ErrNoRows) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("read %s: %w", name, err)
	}
	return value, true, nil
}

// ClearMark forgets what is noted under a name.
func (in *Inbox) ClearMark(ctx context.Context, name string) error {
	if _, err := in.db.ExecContext(ctx, `DELETE FROM inbox_marks WHERE name = ?`, name); err != nil {
		return fmt.Errorf("forget %s: %w", name, err)
	}
	return nil
}

// Marks returns what is noted under names that begin so, by name.
func (in *Inbox) Marks(ctx context.Context, prefix string) (marks map[string]string, err error) {
	rows, err := in.db.QueryContext(ctx, `SELECT name, value FROM inbox_marks WHERE substr(name, 1, length(?)) = ?`, prefix, prefix)
	if err != nil {
		return nil, fmt.Errorf("read marks %s: %w", prefix, err)
	}
	defer rows.Close() //nolint:errcheck // rows.Err below reports what matters
	marks = map[string]string{}
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return nil, fmt.Errorf("read marks %s: %w", prefix, err)
		}
		marks[name] = value
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read marks %s: %w", prefix, err)
	}
	return marks, nil
}
