package sqlitefile

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.mau.fi/whatsmeow/store/sqlstore"

	"cloudsession/connector/capture"
)

// A session file with capture's triggers takes part: what comes in is noted for the
// next push, and what goes out leaves no mark.
func TestSessionFile(t *testing.T) {
	path := botFile(t)
	list, err := Devices(t.Context(), path)
	must(t, err)
	f, err := capture.Open(t.Context(), filepath.Join(t.TempDir(), "session.db"), capture.Options{})
	must(t, err)
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	must(t, sqlstore.NewWithDB(f.DB(), "sqlite3", nil).Upgrade(t.Context()))
	_, err = f.Install(t.Context())
	must(t, err)
	if n := noted(t, f.DB()); n != 0 {
		t.Fatalf("%d sessions noted in an empty file", n)
	}
	_, err = Import(t.Context(), path, list[0].JID, f.DB())
	must(t, err)
	if n := noted(t, f.DB()); n != list[0].Sessions || n == 0 {
		t.Errorf("%d sessions noted of %d", n, list[0].Sessions)
	}
	out := filepath.Join(t.TempDir(), "plain.db")
	_, err = Export(t.Context(), f.DB(), out)
	must(t, err)
	plain, _ := openDB(t, out)
	bot, _ := openDB(t, path)
	if diff := cmp.Diff(dump(t, bot), dump(t, plain)); diff != "" {
		t.Errorf("rows (-bot's file +exported):\n%s", diff)
	}
}

// noted counts the sessions that the next push has to carry.
func noted(t *testing.T, db *sql.DB) (n int) {
	t.Helper()
	var name string
	must(t, db.QueryRowContext(t.Context(), `SELECT name FROM sqlite_master WHERE type = 'table' AND name GLOB '*dirty_whatsmeow_sessions'`).Scan(&name))
	must(t, db.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM "`+name+`"`).Scan(&n))
	return n
}
