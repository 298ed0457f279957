package sqlitefile

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.mau.fi/whatsmeow/types"
)

// Every table of whatsmeow's present schema is copied: a new one would be
// forgotten in silence.
func TestTablesAreComplete(t *testing.T) {
	db, _ := openDB(t, filepath.Join(t.TempDir(), "empty.db"))
	rows, err := db.Query(`SELECT name, COALESCE((SELECT c.name FROM pragma_table_info(m.name) c WHERE c.name IN ('jid', 'our_jid')), '')
		FROM sqlite_master m WHERE type = 'table' AND m.name <> 'whatsmeow_version' ORDER BY 1`)
	must(t, err)
	defer func() { must(t, rows.Close()) }()
	var want []table
	for rows.Next() {
		var x table
		must(t, rows.Scan(&x.name, &x.owner))
		want = append(want, x)
	}
	must(t, rows.Err())
	got := slices.SortedFunc(slices.Values(tables), func(a, b table) int { return cmpStrings(a.name, b.name) })
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(table{})); diff != "" {
		t.Errorf("tables (-schema +copied):\n%s", diff)
	}
}

func cmpStrings(a, b string) int {
	if a < b {
		return -1
	}
	return 1
}

// A bot's file with three devices: each comes out alone, row by row, and goes back
// into a file that has the same rows.
func TestThreeDevices(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "bot.db")
	db, container := openDB(t, path)
	one, two, three := device(t, container, 1), device(t, container, 2), device(t, container, 3)
	fill(t, db, seed(t), one, two, three)
	// A contact of the second device only.
	other := types.JID{User: "999000", Server: types.HiddenUserServer}
	must(t, container.LIDMap.PutLIDMapping(t.Context(), other, types.JID{User: "62999000", Server: types.DefaultUserServer}))
	must(t, two.Sessions.PutSession(t.Context(), other.SignalAddress().String(), []byte("{}")))
	whole := dump(t, db)
	before := folderState(t, dir) // with rows that are only in the WAL

	list, err := Devices(t.Context(), path)
	must(t, err)
	if len(list) != 3 || list[1].JID != *two.ID || list[1].LID != two.LID || list[1].PushName != two.PushName || list[1].Sessions == 0 || list[1].MaxPreKeyID == 0 {
		t.Errorf("devices: %+v", list)
	}
	for _, d := range list {
		session, _ := openDB(t, filepath.Join(t.TempDir(), "session.db"))
		report, err := Import(t.Context(), path, d.JID, session)
		must(t, err)
		got := dump(t, session)
		if diff := cmp.Diff(of(whole, d.JID), of(got, d.JID)); diff != "" {
			t.Errorf("%s (-bot +session):\n%s", d.JID, diff)
		}
		for name, rows := range got {
			if name != lidMap && len(rows) != len(of(got, d.JID)[name]) {
				t.Errorf("%s has rows of other devices", name)
			}
			if report.Rows[name] != len(rows) {
				t.Errorf("%s: %d rows reported, %d there", name, report.Rows[name], len(rows))
			}
		}
		if has := slices.Contains(got[lidMap], "lid='999000' pn='62999000'"); has != (d.JID == *two.ID) {
			t.Errorf("%s: mapping of the second device's contact: %v", d.JID, has)
		}
		if report.Left+len(got[lidMap]) != len(whole[lidMap]) {
			t.Errorf("%d mappings left, %d copied of %d", report.Left, len(got[lidMap]), len(whole[lidMap]))
		}

		out := filepath.Join(t.TempDir(), "new", "plain.db")
		_, err = Export(t.Context(), session, out)
		must(t, err)
		if info, err := os.Stat(out); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("exported file: %v, %v", info, err)
		}
		if files := slices.Collect(maps.Keys(folderState(t, filepath.Dir(out)))); len(files) != 1 {
			t.Errorf("files beside the exported one: %v", files)
		}
		plain, _ := openDB(t, out)
		if diff := cmp.Diff(got, dump(t, plain)); diff != "" {
			t.Errorf("exported (-session +file):\n%s", diff)
		}
	}
	if diff := cmp.Diff(before, folderState(t, dir)); diff != "" {
		t.Errorf("the original was touched:\n%s", diff)
	}
}

// All of the LID map belongs to the only device of a file.
func TestOneDeviceTakesAllMappings(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bot.db")
	db, container := openDB(t, path)
	fill(t, db, seed(t), device(t, container, 1))
	must(t, container.LIDMap.PutLIDMapping(t.Context(), types.NewJID("999000", types.HiddenUserServer), types.NewJID("62999000", types.DefaultUserServer)))
	list, err := Devices(t.Context(), path)
	must(t, err)
	session, _ := openDB(t, filepath.Join(t.TempDir(), "session.db"))
	report, err := Import(t.Context(), path, list[0].JID, session)
	must(t, err)
	if diff := cmp.Diff(dump(t, db), dump(t, session)); diff != "" || report.Left != 0 {
		t.Errorf("left %d (-bot +session):\n%s", report.Left, diff)
	}
}

// A session file has more tables than whatsmeow's: they stay behind, and with them
// capture's triggers and the inbox.
func TestExportTakesNothingElse(t *testing.T) {
	db, container := openDB(t, filepath.Join(t.TempDir(), "session.db"))
	device(t, container, 1)
	for _, stmt := range []string{
		`CREATE TABLE inbox_messages (id INTEGER PRIMARY KEY, text TEXT)`, `INSERT INTO inbox_messages (text) VALUES ('x')`,
		`CREATE TABLE dirty (jid)`, `CREATE TRIGGER t AFTER UPDATE ON whatsmeow_device BEGIN INSERT INTO dirty VALUES (NEW.jid); END`,
	} {
		_, err := db.Exec(stmt)
		must(t, err)
	}
	out := filepath.Join(t.TempDir(), "plain.db")
	_, err := Export(t.Context(), db, out)
	must(t, err)
	plain, _ := openDB(t, out)
	var odd int
	must(t, plain.QueryRow(`SELECT COUNT(*) FROM sqlite_master WHERE type = 'trigger' OR type = 'table' AND name NOT GLOB 'whatsmeow_*'`).Scan(&odd))
	if odd != 0 {
		t.Errorf("%d other tables and triggers", odd)
	}
}
