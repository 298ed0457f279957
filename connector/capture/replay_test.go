package capture

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cloudsession/shared/sessionlog"
)

func foreignKeys(t *testing.T, f *File) bool {
	t.Helper()
	var on bool
	if err := f.DB().QueryRowContext(t.Context(), "PRAGMA foreign_keys").Scan(&on); err != nil {
		t.Fatal(err)
	}
	return on
}

// L3: a changed device row is replaced without its children going.
func TestReplayKeepsChildren(t *testing.T) {
	s := newSession(t, 1)
	for range 100 {
		if _, err := s.ops.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	s.pushDelta(t)
	if err := s.ops.Run(t.Context(), "PutDevice"); err != nil {
		t.Fatal(err)
	}
	c, _ := s.pushDelta(t)
	if len(rowsOf(c.Push, "whatsmeow_device")) != 1 {
		t.Error("the device is not in the delta")
	}
	s.compare(t)
	if !foreignKeys(t, s.replica) {
		t.Error("foreign keys are off after a replay")
	}
}

// Create makes a file of its own: it never touches one that is there.
func TestCreateOverwritesNothing(t *testing.T) {
	s := newSession(t, 1)
	c, err := s.Base(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before := dump(t, s.replica)
	for what, forget := range map[string]func(){"first of its schema": forgetTemplates, "another": func() {}} {
		forget()
		if _, err := Create(t.Context(), s.replica.Path(), c.Push, Options{}); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if diff := cmp.Diff(before, dump(t, s.replica)); diff != "" {
		t.Errorf("the file was touched:\n%s", diff)
	}
}

func forgetTemplates() {
	templates.Lock()
	defer templates.Unlock()
	templates.kept = nil
}

// What is replayed is no change. What comes after Install is one, and in
// between nothing may be pushed.
func TestCreatedFileNotesFromInstallOn(t *testing.T) {
	s := newSession(t, 1)
	if _, err := s.replica.Base(t.Context()); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("base before Install: %v", err)
	}
	if _, _, err := s.replica.Delta(t.Context()); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("delta before Install: %v", err)
	}
	if install(t, s.replica) {
		t.Error("needs a base")
	}
	if st, err := s.replica.State(t.Context()); err != nil || st.Dirty || st.NeedBase {
		t.Errorf("state %+v, %v", st, err)
	}
	exec(t, s.replica, "INSERT INTO whatsmeow_lid_map (lid, pn) VALUES ('1', '2')")
	c, dirty, err := s.replica.Delta(t.Context())
	if err != nil || !dirty || len(c.Push.Records) != 1 {
		t.Errorf("delta of %d records, %v, %v", len(c.Push.Records), dirty, err)
	}
}

// Install looks at the rows that no trigger has seen.
func TestInstallRefusesNullKeysFromABase(t *testing.T) {
	table := sessionlog.Table{Name: "inbox_x", Columns: []string{"a"}, Key: []string{"a"}}
	p := sessionlog.Push{
		Base: true, Schema: []string{"CREATE TABLE inbox_x (a TEXT PRIMARY KEY)"},
		Tables: []sessionlog.Table{table}, Records: []sessionlog.Record{{Key: []any{nil}, Row: []any{nil}}},
	}
	f, err := Create(t.Context(), filepath.Join(t.TempDir(), "session.db"), p, Options{})
	must(t, err)
	defer func() { must(t, f.Close()) }()
	must(t, tryReplay(t, f, p))
	if _, err := f.Install(t.Context()); !errors.Is(err, ErrSchema) {
		t.Errorf("install: %v", err)
	}
}

// Two schemas at a time, in any order, get each its own tables.
func TestTemplatesBySchema(t *testing.T) {
	for i := range 9 {
		name := []string{"inbox_a", "inbox_b", "inbox_c"}[i%3]
		f, err := Create(t.Context(), filepath.Join(t.TempDir(), "session.db"), sessionlog.Push{
			Base: true, SchemaVersion: 7, SchemaCompat: 3, Schema: []string{"CREATE TABLE " + name + " (a TEXT PRIMARY KEY)"},
		}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		exec(t, f, "INSERT INTO "+name+" VALUES ('x')")
		must(t, f.Close())
		if n := len(templates.kept); n > maxTemplates {
			t.Errorf("%d templates are kept", n)
		}
	}
}

func TestApplyRefusesWhatDoesNotFit(t *testing.T) {
	s := newSession(t, 1)
	before := dump(t, s.replica)
	table := sessionlog.Table{Name: "whatsmeow_lid_map", Columns: []string{"lid", "pn"}, Key: []string{"lid"}}
	gone := []sessionlog.Record{{Key: []any{"1"}}}
	renamed, rekeyed := table, table
	renamed.Columns = []string{"lid", "number"}
	rekeyed.Key = []string{"pn"}
	for name, p := range map[string]sessionlog.Push{
		"unknown table":      {SchemaVersion: 99, Tables: []sessionlog.Table{{Name: "whatsmeow_new", Columns: table.Columns, Key: table.Key}}, Records: gone},
		"not captured":       {SchemaVersion: 99, Tables: []sessionlog.Table{{Name: "cloudsession_state", Columns: []string{"id"}, Key: []string{"id"}}}, Records: gone},
		"other columns":      {SchemaVersion: 99, Tables: []sessionlog.Table{renamed}, Records: gone},
		"other key":          {SchemaVersion: 99, Tables: []sessionlog.Table{rekeyed}, Records: gone},
		"no such table":      {SchemaVersion: 99, Tables: []sessionlog.Table{table}, Records: []sessionlog.Record{{Table: 1, Key: []any{"1"}}}},
		"table without DDL":  {Base: true, SchemaVersion: 99, Tables: []sessionlog.Table{table}, Records: gone},
		"DDL that is no DDL": {Base: true, SchemaVersion: 99, Schema: []string{"CREATE TABLE whatsmeow_x (a, nonsense"}},
	} {
		err := replayOrCreate(t, s.replica, p)
		if !errors.Is(err, ErrSchema) || name != "no such table" && !strings.Contains(err.Error(), "version 99") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !foreignKeys(t, s.replica) {
		t.Error("foreign keys are off after an error")
	}
	s.compare(t) // and what was there is still there
	if after := dump(t, s.replica); len(after) != len(before) {
		t.Error("tables differ")
	}
}

// replayOrCreate tries what a push asks for.
func replayOrCreate(t *testing.T, f *File, p sessionlog.Push) error {
	if !p.Base {
		return tryReplay(t, f, p)
	}
	made, err := Create(t.Context(), filepath.Join(t.TempDir(), "session.db"), p, Options{})
	if err != nil {
		return err
	}
	return errors.Join(tryReplay(t, made, p), made.Close())
}

func TestDeltaNeedsAReplayedFile(t *testing.T) {
	s := newSession(t, 1)
	if err := s.ops.Run(t.Context(), "PutSession"); err != nil {
		t.Fatal(err)
	}
	c, _, err := s.Delta(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := tryReplay(t, s.File, c.Push); err == nil {
		t.Error("a delta was applied to a live file")
	}
	fresh := open(t, "", Options{})
	if err := tryReplay(t, fresh, c.Push); err == nil {
		t.Error("a delta was applied to an empty file")
	}
}

func TestAllowedDDL(t *testing.T) {
	for _, text := range []string{
		"CREATE TABLE whatsmeow_x (a TEXT DEFAULT ';', -- a comment; really\n b /* ; */ PRIMARY KEY)",
		`create table "whatsmeow_x"(a)`,
		"CREATE TABLE [inbox_x] (a)",
		"CREATE UNIQUE INDEX anything ON `inbox_x` (a) WHERE a > 'it''s;'",
		"CREATE INDEX i ON whatsmeow_x (a)",
	} {
		if err := allowedDDL(text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{
		"",
		"DROP TABLE whatsmeow_x",
		"CREATE TABLE cloudsession_state (a)",
		"CREATE TABLE whatsmeow_version (a)",
		"CREATE TABLE main.whatsmeow_x (a)",
		"CREATE TEMP TABLE whatsmeow_x (a)",
		"CREATE TABLE IF NOT EXISTS whatsmeow_x (a)",
		"CREATE TABLE whatsmeow_x AS SELECT 1",
		"CREATE VIRTUAL TABLE whatsmeow_x USING fts5(a)",
		"CREATE TABLE whatsmeow_x (a); DELETE FROM cloudsession_state",
		"CREATE TABLE whatsmeow_x (a DEFAULT 'x' '); DROP TABLE y --', b);",
		"CREATE INDEX whatsmeow_i ON cloudsession_state (epoch)",
		"CREATE TRIGGER whatsmeow_t AFTER INSERT ON whatsmeow_x BEGIN SELECT 1; END",
		"CREATE VIEW whatsmeow_v AS SELECT 1",
	} {
		if err := allowedDDL(text); !errors.Is(err, ErrSchema) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestCheckFindsOrphans(t *testing.T) {
	s := newSession(t, 1)
	exec(t, s.File, "CREATE TABLE inbox_p (a TEXT PRIMARY KEY)",
		"CREATE TABLE inbox_c (a TEXT PRIMARY KEY REFERENCES inbox_p (a))",
		"INSERT INTO inbox_p VALUES ('secret')", "INSERT INTO inbox_c VALUES ('secret')")
	install(t, s.File)
	c, err := s.Base(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range c.Push.Records {
		if c.Push.Tables[r.Table].Name == "inbox_p" {
			c.Push.Records = append(c.Push.Records[:i], c.Push.Records[i+1:]...)
			break
		}
	}
	s.replay(t, c.Push)
	err = s.replica.Check(t.Context())
	if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "inbox_c") || strings.Contains(err.Error(), "secret") {
		t.Errorf("Check: %v", err)
	}
}
