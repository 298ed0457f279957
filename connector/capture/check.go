package capture

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// Check runs SQLite's foreign key and integrity checks over the whole file, as
// after a replay. ErrCorrupt names what they found, never a row's contents.
func (f *File) Check(ctx context.Context) error {
	err := f.readTx(ctx, func(tx *sql.Tx) error {
		if err := checkForeignKeys(ctx, tx); err != nil {
			return err
		}
		return checkIntegrity(ctx, tx)
	})
	if err != nil {
		return fmt.Errorf("check session file: %w", corrupt(err))
	}
	return nil
}

func checkForeignKeys(ctx context.Context, tx *sql.Tx) error {
	var child, parent string
	var n int
	err := tx.QueryRowContext(ctx,
		`SELECT "table", parent, count(*) FROM pragma_foreign_key_check GROUP BY 1, 2 LIMIT 1`).Scan(&child, &parent, &n)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("%w: %d rows of %s have no row in %s", ErrCorrupt, n, child, parent)
}

func checkIntegrity(ctx context.Context, tx *sql.Tx) error {
	var found string
	if err := tx.QueryRowContext(ctx, "PRAGMA integrity_check(1)").Scan(&found); err != nil {
		return err
	}
	if found != "ok" {
		return fmt.Errorf("%w: %s", ErrCorrupt, found)
	}
	return nil
}
