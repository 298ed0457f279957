package cloudstore_test

import (
	"database/sql"
	"errors"
	"strings"
	"sync"
	"testing"

	"cloudsession/infra/local/tidbtest"
	"cloudsession/shared/cloudstore"
)

// nodeTable is the Node service's table as it stands, in the collation given.
const nodeTable = `CREATE TABLE whatsapp_sessions (
	id INT AUTO_INCREMENT PRIMARY KEY,
	session_id VARCHAR(255) NOT NULL UNIQUE,
	session_data LONGBLOB NOT NULL,
	last_synced_at TIMESTAMP NULL,
	created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
	updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP
) DEFAULT CHARSET=utf8mb4 COLLATE=`

// A database of the Node service keeps its rows to the byte and the second, and
// its sessions can be listed, taken and deleted.
func TestMigrateNodeDatabase(t *testing.T) {
	for _, collation := range []string{"utf8mb4_bin", "utf8mb4_general_ci", "utf8mb4_unicode_ci", "utf8mb4_0900_ai_ci"} {
		t.Run(collation, func(t *testing.T) {
			config := tidbtest.Start(t)
			db := rawDB(t, config)
			mustExec(t, db, nodeTable+collation)
			mustExec(t, db, `INSERT INTO whatsapp_sessions (session_id, session_data, last_synced_at, created_at, updated_at)
				VALUES ('personal', 'ab:cd', '2026-01-22 10:30:45', '2026-01-20 08:15:30', '2026-01-22 10:30:45'),
				('Toko ☕', 'ef:01', NULL, '2026-01-21 14:20:10', '2026-01-21 14:20:10')`)
			s := open(t, config)
			for range 2 {
				if err := s.Migrate(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if n := count(t, db, `SELECT COUNT(*) FROM whatsapp_sessions WHERE epoch = 0 AND session_id = 'personal' AND session_data = 'ab:cd'
				AND last_synced_at = '2026-01-22 10:30:45' AND created_at = '2026-01-20 08:15:30' AND updated_at = '2026-01-22 10:30:45'`); n != 1 {
				t.Error("the migration touched a row")
			}
			sessions, _, err := s.ListSessions(t.Context(), 0, "")
			if err != nil || len(sessions) != 2 || sessions[0].SessionID != "personal" {
				t.Fatalf("listed %+v, %v", sessions, err)
			}
			checkTakeOfNodeRow(t, s, db)
			if err := s.DeleteSession(t.Context(), "personal"); err != nil {
				t.Error(err)
			}
		})
	}
}

func checkTakeOfNodeRow(t *testing.T, s *cloudstore.Store, db *sql.DB) {
	t.Helper()
	register(t, s, "a")
	// Another spelling is another session, whatever the collation thinks.
	r := request("toko ☕", "a")
	r.MayCreate = false
	if _, err := s.Take(t.Context(), r); err == nil {
		t.Error("taken by another spelling of its id")
	}
	if _, err := s.Credentials(t.Context(), "TOKO ☕"); !errors.Is(err, cloudstore.ErrNotFound) {
		t.Errorf("credentials by another spelling: %v", err)
	}
	if _, err := s.SessionStatus(t.Context(), "toko ☕ "); !errors.Is(err, cloudstore.ErrNotFound) {
		t.Errorf("status by another spelling: %v", err)
	}
	if err := s.DeleteSession(t.Context(), "toko ☕"); !errors.Is(err, cloudstore.ErrNotFound) {
		t.Errorf("delete by another spelling: %v", err)
	}
	r = request("Toko ☕", "a")
	r.MayCreate = false
	taken, err := s.Take(t.Context(), r)
	if err != nil || taken.Epoch != 1 || !taken.Parent.HasCredentials || taken.Parent.HasLog || taken.Start != cloudstore.StartSafe {
		t.Fatalf("take of a row of the Node service: %+v, %v", taken, err)
	}
	if got := string(taken.Parent.Credentials); got != "ef:01" {
		t.Errorf("the take found credentials %q", got)
	}
	wantCredentials(t, s, "Toko ☕", "ef:01", 1)
	if n := count(t, db, "SELECT COUNT(*) FROM whatsapp_sessions WHERE epoch = 1 AND session_id = 'Toko ☕' AND updated_at = '2026-01-21 14:20:10'"); n != 1 {
		t.Error("a take changed when the row was updated")
	}
	if err := s.PutCredentials(t.Context(), creds("Toko ☕", 1, "sealed")); err != nil {
		t.Error(err)
	}
	wantCredentials(t, s, "Toko ☕", "sealed", 1)
}

func TestMigrateAtOnce(t *testing.T) {
	config := tidbtest.Start(t)
	var wg sync.WaitGroup
	for range 4 {
		s := open(t, config)
		wg.Go(func() {
			if err := s.Migrate(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	db := rawDB(t, config)
	if n := count(t, db, "SELECT COUNT(*) FROM cloudsession_migrations WHERE version > 0"); n != 6 {
		t.Errorf("%d migrations noted, want 6", n)
	}
	if n := count(t, db, "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE()"); n != 7 {
		t.Errorf("%d tables, want 7", n)
	}
}

// A step that was interrupted, or run by two, is run again without harm; a
// newer program's database is left alone.
func TestMigrateAgain(t *testing.T) {
	s, config := migrated(t)
	db := rawDB(t, config)
	mustExec(t, db, "DELETE FROM cloudsession_migrations WHERE version > 0")
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatalf("every step a second time: %v", err)
	}
	mustExec(t, db, "INSERT INTO cloudsession_migrations (version, name) VALUES (999, 'from the future')")
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// The shape that the Node service and its documentation rely on.
func TestSessionsTableShape(t *testing.T) {
	_, config := migrated(t)
	db := rawDB(t, config)
	rows, err := db.QueryContext(t.Context(), `SELECT column_name, column_type, is_nullable, extra FROM information_schema.columns
		WHERE table_schema = DATABASE() AND table_name = 'whatsapp_sessions' ORDER BY ordinal_position`)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var got []string
	for rows.Next() {
		var name, kind, nullable, extra string
		if err := rows.Scan(&name, &kind, &nullable, &extra); err != nil {
			t.Fatal(err)
		}
		got = append(got, strings.TrimSpace(strings.ToLower(name+" "+kind+" "+nullable+" "+extra)))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"id int(11) no auto_increment", "session_id varchar(255) no", "session_data longblob no", "last_synced_at timestamp yes",
		"created_at timestamp yes", "updated_at timestamp yes default_generated on update current_timestamp", "epoch bigint(20) unsigned no",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("columns:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
