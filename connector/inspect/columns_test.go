package inspect

import (
	"database/sql"
	"path/filepath"
	"slices"
	"testing"

	"go.mau.fi/whatsmeow/store/sqlstore"
	_ "modernc.org/sqlite"

	"cloudsession/connector/inbox"
)

// Every column of the schema in use was thought about, and no list names a
// column that isn't there.
func TestEveryColumnIsListed(t *testing.T) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "session.db")+"?_pragma=foreign_keys(1)")
	must(t, err)
	container := sqlstore.NewWithDB(db, "sqlite3", nil)
	defer func() { must(t, container.Close()) }()
	must(t, container.Upgrade(t.Context()))
	must(t, inbox.Migrate(t.Context(), db))

	rows, err := db.QueryContext(t.Context(), `SELECT m.name, c.name FROM sqlite_schema m JOIN pragma_table_info(m.name) c
		WHERE m.type = 'table' AND (m.name LIKE 'whatsmeow\_%' ESCAPE '\' OR m.name LIKE 'inbox\_%' ESCAPE '\') AND m.name <> 'whatsmeow_version'`)
	must(t, err)
	defer func() { must(t, rows.Close()) }()
	there := map[string]bool{}
	for rows.Next() {
		var table, column string
		must(t, rows.Scan(&table, &column))
		there[table+"."+column] = true
		shown, redacted := slices.Contains(shownColumns[table], column), slices.Contains(redactedColumns[table], column)
		if shown == redacted {
			t.Errorf("%s.%s: shown %v, redacted %v", table, column, shown, redacted)
		}
	}
	must(t, rows.Err())
	if len(there) < 100 {
		t.Errorf("only %d columns", len(there))
	}
	for _, list := range []map[string][]string{shownColumns, redactedColumns} {
		for table, columns := range list {
			for _, c := range columns {
				if !there[table+"."+c] {
					t.Errorf("%s.%s isn't in the schema", table, c)
				}
			}
		}
	}
}
