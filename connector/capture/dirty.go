package capture

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
)

// IsDirty reports whether a change of the row of a captured table is noted and
// not acknowledged: then nobody but this file may have it. key is the row's
// primary key, in declared order; without one, any row is meant. ErrNotInstalled tells that changes of the
// table aren't noted.
func (f *File) IsDirty(ctx context.Context, name string, key ...any) (dirty bool, err error) {
	conditions := []string{"TRUE"}
	for i := range key {
		conditions = append(conditions, fmt.Sprintf("k%d = ?", i))
	}
	err = f.readTx(ctx, func(tx *sql.Tx) error {
		names, err := tableNames(ctx, tx)
		if err != nil {
			return err
		}
		if !slices.Contains(names, dirtyTable(name)) {
			return fmt.Errorf("%w: table %s", ErrNotInstalled, name)
		}
		query := "SELECT EXISTS (SELECT 1 FROM " + quote(dirtyTable(name)) + " WHERE " + strings.Join(conditions, " AND ") + ")"
		return tx.QueryRowContext(ctx, query, key...).Scan(&dirty)
	})
	if err != nil {
		return false, fmt.Errorf("look for change of a row: %w", corrupt(err))
	}
	return dirty, nil
}
