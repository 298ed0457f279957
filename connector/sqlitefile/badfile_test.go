package sqlitefile

import (
	"bufio"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.mau.fi/whatsmeow/types"
)

// botFile makes a closed file with a device in it.
func botFile(t *testing.T, change ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bot.db")
	db, container := openDB(t, path)
	d := device(t, container, 1)
	fill(t, db, seed(t), d)
	for _, stmt := range change {
		if _, err := db.Exec(stmt); err != nil {
			t.Fatalf("%s: %v", stmt, err)
		}
	}
	must(t, db.Close())
	return path
}

// Each bad file is refused with one sentence that names it, and changes nothing.
func TestBadFiles(t *testing.T) {
	write := func(data []byte) func(*testing.T) string {
		return func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "bot.db")
			must(t, os.WriteFile(path, data, 0o600))
			return path
		}
	}
	for name, c := range map[string]struct {
		make func(*testing.T) string
		want error
	}{
		"missing":       {func(t *testing.T) string { return filepath.Join(t.TempDir(), "none.db") }, fs.ErrNotExist},
		"folder":        {func(t *testing.T) string { return t.TempDir() }, ErrNotSQLite},
		"no bytes":      {write(nil), ErrNotWhatsmeow},
		"text":          {write([]byte(strings.Repeat("creds.json is not a database\n", 99))), ErrNotSQLite},
		"truncated":     {truncated, ErrNotSQLite},
		"damaged page":  {damagedPage, ErrNotSQLite},
		"foreign":       {foreign, ErrNotWhatsmeow},
		"newer":         {func(t *testing.T) string { return botFile(t, `UPDATE whatsmeow_version SET version = 16`) }, ErrNewer},
		"no version":    {func(t *testing.T) string { return botFile(t, `DELETE FROM whatsmeow_version`) }, ErrNotWhatsmeow},
		"unknown table": {func(t *testing.T) string { return botFile(t, `DROP TABLE whatsmeow_version`) }, ErrNotWhatsmeow},
	} {
		t.Run(name, func(t *testing.T) {
			path := c.make(t)
			before := folderState(t, filepath.Dir(path))
			_, err := Devices(t.Context(), path)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), filepath.Base(path)) {
				t.Errorf("devices: %v, want %v", err, c.want)
			}
			session, _ := openDB(t, filepath.Join(t.TempDir(), "session.db"))
			_, err = Import(t.Context(), path, types.NewJID("1", types.DefaultUserServer), session)
			if !errors.Is(err, c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("import: %v, want %v", err, c.want)
			}
			if rows := dump(t, session); len(rows) != 0 {
				t.Errorf("the session file got rows: %v", rows)
			}
			if diff := cmp.Diff(before, folderState(t, filepath.Dir(path))); diff != "" {
				t.Errorf("the original was touched:\n%s", diff)
			}
		})
	}
}

func truncated(t *testing.T) string {
	path := botFile(t)
	info, err := os.Stat(path)
	must(t, err)
	must(t, os.Truncate(path, info.Size()/2))
	return path
}

// damagedPage overwrites the page that holds the first table's root.
func damagedPage(t *testing.T) string {
	path := botFile(t)
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	_, err = file.WriteAt([]byte(strings.Repeat("damage", 600)), 4096)
	must(t, errors.Join(err, file.Close()))
	return path
}

func foreign(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "bot.db")
	db, err := sql.Open("sqlite", path)
	must(t, err)
	_, err = db.Exec(`CREATE TABLE mx_state (id INTEGER)`)
	must(t, errors.Join(err, db.Close()))
	return path
}

func TestEmptyFileHasNoDevices(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bot.db")
	db, _ := openDB(t, path)
	list, err := Devices(t.Context(), path)
	if err != nil || len(list) != 0 {
		t.Errorf("devices: %v, %v", list, err)
	}
	session, _ := openDB(t, filepath.Join(t.TempDir(), "session.db"))
	if _, err := Import(t.Context(), path, types.NewJID("1", types.DefaultUserServer), session); !errors.Is(err, ErrUnknownDevice) {
		t.Errorf("import: %v", err)
	}
	if _, err := Export(t.Context(), db, filepath.Join(t.TempDir(), "x.db")); !errors.Is(err, ErrNoDevice) {
		t.Errorf("export: %v", err)
	}
}

func TestExistingStateIsNotOverwritten(t *testing.T) {
	path := botFile(t)
	list, err := Devices(t.Context(), path)
	must(t, err)
	session, container := openDB(t, filepath.Join(t.TempDir(), "session.db"))
	device(t, container, 2)
	before := dump(t, session)
	if _, err := Import(t.Context(), path, list[0].JID, session); !errors.Is(err, ErrDeviceExists) {
		t.Errorf("import: %v", err)
	}
	if diff := cmp.Diff(before, dump(t, session)); diff != "" {
		t.Errorf("rows changed:\n%s", diff)
	}
	state := folderState(t, filepath.Dir(path))
	if _, err := Export(t.Context(), session, path); !errors.Is(err, ErrExists) {
		t.Errorf("export: %v", err)
	}
	if diff := cmp.Diff(state, folderState(t, filepath.Dir(path))); diff != "" {
		t.Errorf("files changed:\n%s", diff)
	}
	device(t, container, 3)
	if _, err := Export(t.Context(), session, filepath.Join(t.TempDir(), "x.db")); !errors.Is(err, ErrManyDevices) {
		t.Errorf("export: %v", err)
	}
	// The connection serves on after a refusal: nothing is left attached.
	var attached int
	must(t, session.QueryRow(`SELECT COUNT(*) FROM pragma_database_list WHERE name = 'other'`).Scan(&attached))
	if attached != 0 {
		t.Error("a database is still attached")
	}
}

// older undoes whatsmeow's upgrades down to a version, newest first.
func older(version int) []string {
	undo := map[int][]string{
		15: {`ALTER TABLE whatsmeow_device DROP COLUMN companion_meta_nonce`},
		14: {`DROP TABLE whatsmeow_nct_salt`},
		13: {`DROP TABLE whatsmeow_retry_buffer`},
		12: {`DROP INDEX idx_whatsmeow_privacy_tokens_our_jid_timestamp`, `ALTER TABLE whatsmeow_privacy_tokens DROP COLUMN sender_timestamp`},
		11: {`ALTER TABLE whatsmeow_contacts DROP COLUMN redacted_phone`},
		10: {`ALTER TABLE whatsmeow_device DROP COLUMN lid_migration_ts`},
		9:  {`DROP TABLE whatsmeow_event_buffer`},
		8:  {`DROP TABLE whatsmeow_lid_map`},
		7:  {`ALTER TABLE whatsmeow_device DROP COLUMN lid`},
		6:  {`ALTER TABLE whatsmeow_device DROP COLUMN facebook_uuid`},
		4:  {`DROP TABLE whatsmeow_privacy_tokens`},
		3:  {`DROP TABLE whatsmeow_message_secrets`},
	}
	var all []string
	for v := 15; v > version; v-- {
		all = append(all, undo[v]...)
	}
	return append(all, fmt.Sprintf(`UPDATE whatsmeow_version SET version = %d, compat = %[1]d`, version))
}

// Files of every older schema are brought up to date, in the copy only.
func TestOlderSchemas(t *testing.T) {
	for version := 2; version < 15; version++ {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			changes := older(version)
			if version < 5 {
				changes = append(changes, `UPDATE whatsmeow_device SET jid = replace(jid, ':1@', '.0:1@')`)
			}
			if version < 8 {
				changes = append(changes, `ALTER TABLE whatsmeow_version DROP COLUMN compat`) // as it was then
			}
			path := botFile(t, changes...)
			state := folderState(t, filepath.Dir(path))
			list, err := Devices(t.Context(), path)
			must(t, err)
			if len(list) != 1 || list[0].JID.String() != "628110000001:1@s.whatsapp.net" {
				t.Fatalf("devices: %+v", list)
			}
			session, _ := openDB(t, filepath.Join(t.TempDir(), "session.db"))
			report, err := Import(t.Context(), path, list[0].JID, session)
			must(t, err)
			if report.SchemaVersion != version || report.Rows["whatsmeow_sessions"] == 0 || report.Rows["whatsmeow_contacts"] == 0 {
				t.Errorf("report: %+v", report)
			}
			if diff := cmp.Diff(state, folderState(t, filepath.Dir(path))); diff != "" {
				t.Errorf("the original was touched:\n%s", diff)
			}
		})
	}
}

const holdFile = "SQLITEFILE_TEST_HOLD"

// A program that is still running holds the file, here another process with an
// idle connection in WAL mode.
func TestFileInUse(t *testing.T) {
	path := botFile(t)
	holder := exec.Command(os.Args[0], "-test.run=^TestHoldFile$")
	holder.Env = append(os.Environ(), holdFile+"="+path)
	holder.Stderr = os.Stderr
	in, err := holder.StdinPipe()
	must(t, err)
	out, err := holder.StdoutPipe()
	must(t, err)
	must(t, holder.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "held\n" {
		t.Errorf("holder says %q, %v", line, err)
	}
	_, err = Devices(t.Context(), path)
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), fmt.Sprint(holder.Process.Pid)) {
		t.Errorf("devices: %v", err)
	}
	must(t, errors.Join(in.Close(), holder.Wait()))
	if _, err := Devices(t.Context(), path); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestHoldFile is the other process of TestFileInUse.
func TestHoldFile(t *testing.T) {
	path := os.Getenv(holdFile)
	if path == "" {
		return
	}
	db, _ := openDB(t, path)
	must(t, db.PingContext(t.Context()))
	if _, err := os.Stdout.WriteString("held\n"); err != nil {
		t.Fatal(err)
	}
	_, err := io.Copy(io.Discard, os.Stdin) // until the test closes it
	must(t, err)
}
