package capture

import (
	"errors"
	"strings"
	"testing"

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
		t.Error("foreign keys are off after Apply")
	}
}

// A base over anything gives exactly the base.
func TestBaseReplacesAll(t *testing.T) {
	s := newSession(t, 1)
	other := newSession(t, 2)
	for range 50 {
		if _, err := other.ops.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	exec(t, other.File, "CREATE TABLE inbox_other (a TEXT PRIMARY KEY)", "CREATE TABLE mine (a)")
	install(t, other.File)
	s.replica = other.File // installed, dirty, with one table more
	s.pushBase(t)
	s.compare(t)
	if st, err := other.State(t.Context()); err != nil || st.Dirty || st.NeedBase || st.InFlight != nil {
		t.Errorf("state %+v, %v", st, err)
	}
	if install(t, other.File) {
		t.Error("needs a base")
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
		err := s.replica.Apply(t.Context(), p)
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

func TestDeltaNeedsAReplayedFile(t *testing.T) {
	s := newSession(t, 1)
	if err := s.ops.Run(t.Context(), "PutSession"); err != nil {
		t.Fatal(err)
	}
	c, _, err := s.Delta(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(t.Context(), c.Push); err == nil {
		t.Error("a delta was applied to a live file")
	}
	fresh := open(t, "", Options{})
	if err := fresh.Apply(t.Context(), c.Push); err == nil {
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
	apply(t, s.replica, c.Push)
	err = s.replica.Check(t.Context())
	if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "inbox_c") || strings.Contains(err.Error(), "secret") {
		t.Errorf("Check: %v", err)
	}
}
