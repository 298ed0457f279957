package capture

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"go.mau.fi/whatsmeow/store/sqlstore"

	"cloudsession/shared/sessionlog"
)

func TestInstallTwiceChangesNothing(t *testing.T) {
	s := newSession(t, 1)
	if err := s.ops.Run(t.Context(), "PutSession"); err != nil {
		t.Fatal(err)
	}
	if install(t, s.File) {
		t.Error("schema changed")
	}
	if _, dirty := s.pushDelta(t); !dirty {
		t.Error("Install forgot what was noted")
	}
	s.compare(t)
}

// An upgrade that changes a table makes the next push a base.
func TestSchemaUpgradeNeedsBase(t *testing.T) {
	for name, upgrade := range map[string][]string{
		"new column": {"ALTER TABLE whatsmeow_contacts ADD COLUMN username TEXT NOT NULL DEFAULT 'none'"},
		"new table":  {"CREATE TABLE whatsmeow_new (a TEXT PRIMARY KEY)", "INSERT INTO whatsmeow_new VALUES ('a')"},
		"new index":  {"CREATE INDEX whatsmeow_new ON whatsmeow_contacts (push_name)"},
		"version":    {"UPDATE whatsmeow_version SET version = version + 1"},
		"gone":       {"DROP TABLE whatsmeow_chat_settings"},
		"rebuilt": {
			"PRAGMA foreign_keys = OFF",
			"ALTER TABLE whatsmeow_contacts RENAME TO old",
			"CREATE TABLE whatsmeow_contacts (our_jid TEXT, their_jid TEXT, full_name TEXT, PRIMARY KEY (their_jid, our_jid))",
			"INSERT INTO whatsmeow_contacts SELECT our_jid, their_jid, full_name FROM old",
			"DROP TABLE old",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSession(t, 1)
			if err := s.ops.Run(t.Context(), "PutContactName"); err != nil {
				t.Fatal(err)
			}
			s.DB().SetMaxOpenConns(1)
			exec(t, s.File, upgrade...)
			s.DB().SetMaxOpenConns(0)
			if !install(t, s.File) {
				t.Fatal("schema change not noticed")
			}
			if _, _, err := s.Delta(t.Context()); !errors.Is(err, ErrNeedBase) {
				t.Fatalf("Delta: %v", err)
			}
			s.pushBase(t)
			s.compare(t)
			if err := s.ops.Run(t.Context(), "PutSession"); err != nil {
				t.Fatal(err)
			}
			s.pushDelta(t)
			s.compare(t)
			if install(t, s.File) {
				t.Error("schema changed again")
			}
		})
	}
}

// A base acknowledged after the schema changed once more doesn't count.
func TestBaseOfAnEarlierSchema(t *testing.T) {
	s := newSession(t, 1)
	c, err := s.Base(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	exec(t, s.File, "CREATE TABLE inbox_x (a TEXT PRIMARY KEY)")
	install(t, s.File)
	s.deliver(t, c)
	if st, err := s.State(t.Context()); err != nil || !st.NeedBase {
		t.Errorf("need base %v, %v", st.NeedBase, err)
	}
	s.pushBase(t)
	if st, err := s.State(t.Context()); err != nil || st.NeedBase {
		t.Errorf("need base %v, %v", st.NeedBase, err)
	}
}

// A base that was in flight when triggers were missing can't be the one that is
// needed because of it, though the tables are the same: what changed since it
// was read may have gone unseen. Nor are the notes there are lost with the triggers.
func TestBaseInFlightWhenTriggersWereMissing(t *testing.T) {
	s := newSession(t, 1)
	ctx := t.Context()
	c, err := s.Base(ctx)
	must(t, err)
	p := s.inFlight(c)
	must(t, s.SetInFlight(ctx, p))
	put := func(peer string) { must(t, s.ops.Device.Sessions.PutSession(ctx, peer, []byte("since"))) }
	put("noted:0")
	exec(t, s.File, "DROP TRIGGER cloudsession_whatsmeow_sessions_insert", "DROP TRIGGER cloudsession_whatsmeow_sessions_update")
	put("unseen:0")
	if !install(t, s.File) {
		t.Error("no base needed")
	}
	if dirty, err := s.IsDirty(ctx, "whatsmeow_sessions", s.ops.Device.ID.String(), "noted:0"); err != nil || !dirty {
		t.Errorf("what was noted before Install: %v, %v", dirty, err)
	}
	s.replay(t, c.Push)
	st, err := s.State(ctx)
	must(t, err)
	must(t, s.Acknowledge(ctx, *st.InFlight))
	if _, _, err := s.Delta(ctx); !errors.Is(err, ErrNeedBase) {
		t.Errorf("Delta after the base of before: %v", err)
	}
	s.pushBase(t)
	s.compare(t)
}

// A push in flight is acknowledged also when an upgrade has dropped one of its
// tables meanwhile.
func TestAcknowledgeAfterTableWasDropped(t *testing.T) {
	s := newSession(t, 1)
	exec(t, s.File, "CREATE TABLE inbox_x (a TEXT PRIMARY KEY)")
	install(t, s.File)
	s.pushBase(t)
	exec(t, s.File, "INSERT INTO inbox_x VALUES ('a')")
	must(t, s.ops.Run(t.Context(), "PutSession"))
	c, _, err := s.Delta(t.Context())
	must(t, err)
	p := s.inFlight(c)
	must(t, s.SetInFlight(t.Context(), p))
	exec(t, s.File, "DROP TABLE inbox_x")
	install(t, s.File)
	must(t, s.Acknowledge(t.Context(), p))
	if st, err := s.State(t.Context()); err != nil || st.Dirty || !st.NeedBase || st.Acked != p.Last() {
		t.Errorf("state %+v, %v", st, err)
	}
}

// A read through a handle that has not installed notices missing triggers.
func TestReadWithoutInstall(t *testing.T) {
	s := newSession(t, 1)
	again := open(t, s.Path(), Options{})
	if _, dirty, err := again.Delta(t.Context()); err != nil || dirty {
		t.Errorf("a second handle: dirty %v, %v", dirty, err)
	}
	for name, statement := range map[string]string{
		"trigger":  `DROP TRIGGER cloudsession_whatsmeow_sessions_update`,
		"contents": `CREATE INDEX whatsmeow_new ON whatsmeow_contacts (push_name)`,
	} {
		exec(t, s.File, statement)
		third := open(t, s.Path(), Options{})
		if _, _, err := third.Delta(t.Context()); !errors.Is(err, ErrNotInstalled) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := third.Base(t.Context()); !errors.Is(err, ErrNotInstalled) {
			t.Errorf("%s: %v", name, err)
		}
		if !install(t, s.File) {
			t.Errorf("%s: no base needed", name)
		}
	}
	fresh := open(t, "", Options{})
	exec(t, fresh, "CREATE TABLE inbox_x (a TEXT PRIMARY KEY)")
	if _, err := fresh.Base(t.Context()); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("a fresh file: %v", err)
	}
}

// A file built from the log goes on with deltas, unless Upgrade changes it.
func TestInstallAfterReplay(t *testing.T) {
	s := newSession(t, 1)
	s.pushDelta(t)
	if err := sqlstore.NewWithDB(s.replica.DB(), "sqlite", nil).Upgrade(t.Context()); err != nil {
		t.Fatal(err)
	}
	if install(t, s.replica) {
		t.Error("a replayed file needs a base")
	}
	if st, err := s.replica.State(t.Context()); err != nil || st.NeedBase || st.Dirty {
		t.Errorf("state %+v, %v", st, err)
	}
	exec(t, s.replica, "DROP TRIGGER cloudsession_whatsmeow_sessions_update")
	if !install(t, s.replica) {
		t.Error("a lost trigger goes unnoticed after a replay")
	}
}

// A base with whatsmeow's schema of version 14 becomes a file of today's.
func TestBaseOfAnOlderWhatsmeow(t *testing.T) {
	s := newSession(t, 1)
	c, err := s.Base(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if c.Push.SchemaVersion != 15 || c.Push.SchemaCompat != 8 {
		t.Fatalf("schema version %d, compat %d: rewrite this test for the new one", c.Push.SchemaVersion, c.Push.SchemaCompat)
	}
	old := downgrade(t, c.Push)
	s.replay(t, old)
	restored := s.replica
	if err := restored.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	container := sqlstore.NewWithDB(restored.DB(), "sqlite", nil)
	if err := container.Upgrade(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !install(t, restored) {
		t.Error("an upgraded file needs no base")
	}
	device, err := container.GetFirstDevice(t.Context())
	if err != nil || device.GetJID() != s.ops.Device.GetJID() || device.PushName != "toko ☕" {
		t.Errorf("device %v, %v", device.GetJID(), err)
	}
}

// downgrade takes out what version 15 added to whatsmeow_device.
func downgrade(t *testing.T, p sessionlog.Push) sessionlog.Push {
	t.Helper()
	p.SchemaVersion = 14
	p.Schema = slices.Clone(p.Schema)
	for i, text := range p.Schema {
		p.Schema[i] = strings.Replace(text, ",\n\n\tcompanion_meta_nonce TEXT NOT NULL DEFAULT ''", "", 1)
	}
	p.Tables = slices.Clone(p.Tables)
	n := slices.IndexFunc(p.Tables, func(t sessionlog.Table) bool { return t.Name == "whatsmeow_device" })
	last := len(p.Tables[n].Columns) - 1
	if p.Tables[n].Columns[last] != "companion_meta_nonce" {
		t.Fatal("the last column of whatsmeow_device is another one")
	}
	p.Tables[n].Columns = p.Tables[n].Columns[:last]
	p.Records = slices.Clone(p.Records)
	for i, r := range p.Records {
		if r.Table == n {
			p.Records[i].Row = r.Row[:last]
		}
	}
	return p
}
