package capture

import (
	"errors"
	"testing"
	"time"
)

// Conflict clauses, cascades and key updates are all noted.
func TestTriggersUnderConflictClauses(t *testing.T) {
	s := newSession(t, 1)
	exec(t, s.File,
		"CREATE TABLE inbox_parent (a TEXT, b TEXT UNIQUE, v, PRIMARY KEY (a))",
		`CREATE TABLE inbox_child (id INTEGER PRIMARY KEY, a TEXT, v,
			FOREIGN KEY (a) REFERENCES inbox_parent (a) ON DELETE CASCADE ON UPDATE CASCADE)`)
	install(t, s.File)
	s.pushBase(t)
	for _, statement := range []string{
		"INSERT INTO inbox_parent VALUES ('p', '1', 0), ('q', '2', 0), ('r', '3', 0)",
		"INSERT INTO inbox_child VALUES (1, 'p', 0), (2, 'p', 0), (3, 'q', 0), (4, 'r', 0)",
		"INSERT OR IGNORE INTO inbox_parent VALUES ('p', '9', 1), ('s', '4', 1), ('t', '2', 1)",
		"INSERT OR REPLACE INTO inbox_parent VALUES ('q', '2', 1)", // its child goes
		"INSERT OR REPLACE INTO inbox_parent VALUES ('u', '3', 1)", // and r with its own
		"UPDATE OR REPLACE inbox_parent SET b = '1' WHERE a = 's'", // and p
		"INSERT INTO inbox_child VALUES (7, 's', 0), (8, 's', 0)",
		"UPDATE inbox_parent SET a = 'x' WHERE a = 's'", // cascades to the children
		"UPDATE inbox_child SET id = id + 100",
		"UPDATE inbox_child SET rowid = 5 WHERE id = 107",
		"REPLACE INTO inbox_child VALUES (5, 'x', 'again')",
		"INSERT INTO inbox_child (a) VALUES ('x')",
		"INSERT INTO inbox_parent VALUES ('x', '1', 2) ON CONFLICT (a) DO UPDATE SET v = excluded.v",
		"UPDATE inbox_parent SET a = CASE a WHEN 'x' THEN 'u1' ELSE a END",
		"DELETE FROM inbox_parent",
	} {
		exec(t, s.File, statement)
		if _, dirty := s.pushDelta(t); !dirty {
			t.Errorf("%s: nothing noted", statement)
		}
		s.compare(t)
	}
}

// Deleting the device deletes everything of it, here and in the replica.
func TestCascadeFromTheDevice(t *testing.T) {
	s := newSession(t, 1)
	for range 200 {
		if _, err := s.ops.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if c, _ := s.pushDelta(t); !c.HasDevice {
		t.Error("no device")
	}
	if err := s.ops.Device.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	c, _ := s.pushDelta(t)
	if c.HasDevice || !c.CredentialsChanged {
		t.Errorf("device %v, credentials changed %v", c.HasDevice, c.CredentialsChanged)
	}
	s.compare(t)
	if len(dump(t, s.replica)["whatsmeow_sessions"]) != 0 {
		t.Error("sessions of a deleted device")
	}
}

func TestCredentialsChanged(t *testing.T) {
	s := newSession(t, 1)
	for name, want := range map[string]bool{"PutSession": false, "PutDevice": true, "PutIdentity": false, "PutAppStateSyncKey": true} {
		if err := s.ops.Run(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		if c, _ := s.pushDelta(t); c.CredentialsChanged != want {
			t.Errorf("%s: credentials changed %v, want %v", name, c.CredentialsChanged, want)
		}
	}
	if !s.pushBase(t).CredentialsChanged {
		t.Error("a base has no credentials")
	}
}

func TestNullKeysAreRefused(t *testing.T) {
	s := newSession(t, 1)
	exec(t, s.File, "CREATE TABLE inbox_n (a TEXT, b, v, PRIMARY KEY (a, b))")
	install(t, s.File)
	exec(t, s.File, "INSERT INTO inbox_n VALUES ('a', 1, 0)")
	for _, statement := range []string{
		"INSERT INTO inbox_n VALUES ('a', NULL, 0)",
		"INSERT OR IGNORE INTO inbox_n VALUES (NULL, 1, 0)",
		"INSERT OR REPLACE INTO inbox_n VALUES ('a', NULL, 0)",
		"UPDATE inbox_n SET b = NULL",
		"UPDATE OR IGNORE inbox_n SET a = NULL",
		"INSERT INTO whatsmeow_pre_keys (jid, key_id, key, uploaded) SELECT jid, NULL, randomblob(32), 0 FROM whatsmeow_device",
		"INSERT INTO whatsmeow_lid_map (pn) VALUES ('1')",
	} {
		if _, err := s.DB().ExecContext(t.Context(), statement); err == nil {
			t.Errorf("accepted: %s", statement)
		}
	}
	s.pushBase(t)
	s.compare(t)

	exec(t, s.File, "CREATE TABLE inbox_m (a TEXT PRIMARY KEY, v)", "INSERT INTO inbox_m VALUES (NULL, 1)")
	if _, err := s.Install(t.Context()); !errors.Is(err, ErrSchema) {
		t.Errorf("Install over a NULL key: %v", err)
	}
}

func TestTablesThatCannotBeCaptured(t *testing.T) {
	for _, ddl := range []string{
		"CREATE TABLE inbox_x (a)",
		"CREATE TABLE inbox_x (a PRIMARY KEY, b AS (a + 1))",
	} {
		f := open(t, "", Options{})
		exec(t, f, ddl)
		if _, err := f.Install(t.Context()); !errors.Is(err, ErrSchema) {
			t.Errorf("%s: %v", ddl, err)
		}
	}
}

// C2: the event buffer's last day is replicated, with the plaintexts of what is not stored yet.
func TestEventBuffer(t *testing.T) {
	s := newSession(t, 1)
	ctx := t.Context()
	put := func(hash byte, age time.Duration) {
		t.Helper()
		_, err := s.DB().ExecContext(ctx, `INSERT INTO whatsmeow_event_buffer
			(our_jid, ciphertext_hash, plaintext, server_timestamp, insert_timestamp) VALUES (?, ?, 'secret', 1, ?)`,
			s.ops.Device.ID.String(), append(make([]byte, 31), hash), time.Now().Add(-age).UnixMilli())
		if err != nil {
			t.Fatal(err)
		}
	}
	put(1, 25*time.Hour)
	put(2, 23*time.Hour)
	delta, _ := s.pushDelta(t)
	s.compare(t)
	base := s.pushBase(t)
	s.compare(t)
	for _, c := range []Changes{delta, base} {
		rows := rowsOf(c.Push, "whatsmeow_event_buffer")
		if len(rows) != 1 || rows[0][2] != "secret" || rows[0][1].([]byte)[31] != 2 {
			t.Errorf("rows %v", rows)
		}
	}
	exec(t, s.File, "UPDATE whatsmeow_event_buffer SET plaintext = NULL")
	if _, dirty := s.pushDelta(t); dirty {
		t.Error("clearing a plaintext is noted")
	}
	base = s.pushBase(t)
	if rows := rowsOf(base.Push, "whatsmeow_event_buffer"); len(rows) != 1 || rows[0][2] != nil {
		t.Errorf("after the plaintext was cleared: rows %v", rows)
	}
	exec(t, s.File, "DELETE FROM whatsmeow_event_buffer")
	if _, dirty := s.pushDelta(t); !dirty {
		t.Error("deleting is not noted")
	}
	s.compare(t)
}

// Marking prekeys that are marked already pushes nothing again.
func TestPreKeysThatDoNotChange(t *testing.T) {
	s := newSession(t, 1)
	ctx := t.Context()
	if _, err := s.ops.Device.PreKeys.GetOrGenPreKeys(ctx, 20); err != nil {
		t.Fatal(err)
	}
	if err := s.ops.Device.PreKeys.MarkPreKeysAsUploaded(ctx, 10); err != nil {
		t.Fatal(err)
	}
	s.pushDelta(t)
	if err := s.ops.Device.PreKeys.MarkPreKeysAsUploaded(ctx, 12); err != nil {
		t.Fatal(err)
	}
	c, _ := s.pushDelta(t)
	if rows := rowsOf(c.Push, "whatsmeow_pre_keys"); len(rows) != 2 {
		t.Errorf("%d prekeys, want 2", len(rows))
	}
	s.compare(t)
}
