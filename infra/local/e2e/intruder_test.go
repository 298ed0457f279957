package e2e

import (
	"database/sql"
	"slices"
	"strings"
	"testing"

	"cloudsession/infra/local/rig"
)

// What somebody can do who may write to TiDB, and does not have the secret. Changed
// and missing rows have their tests beside the other starts of a term.

// Rows of one session in the place of another's, epoch and number alike, open
// nothing: neither a log nor credentials. With its own rows back it comes back.
func TestMovedRowsAreRefused(t *testing.T) {
	s, other := newScene(t), newScene(t)
	c := s.paired("c")
	other.must(c.Pair(other.ctx, other.session, other.owner))
	for _, each := range []*scene{s, other} {
		each.talk(c)
		each.must(c.Close(each.ctx, each.session))
	}
	db := s.database()
	var own []tableDump
	for _, table := range sessionTables {
		own = append(own, s.dump(db, table, "session_id = ?"))
	}
	fresh := s.connector("fresh")
	refused := func(what string, why ...string) {
		t.Helper()
		opened, err := fresh.Open(s.ctx, s.session)
		if err == nil || !slices.ContainsFunc(why, func(text string) bool { return strings.Contains(err.Error(), text) }) {
			t.Errorf("opened with %s of another session: %+v, %v", what, opened, err)
		}
	}

	s.replaces(db, `UPDATE session_segments mine JOIN session_segments other ON other.epoch = mine.epoch AND other.seq = mine.seq
		SET mine.data = other.data, mine.tag = other.tag WHERE mine.session_id = ? AND other.session_id = ?`, other)
	// Where the other log is shorter, a row of its own is left, which no longer fits the one before it.
	refused("the log", "another session", "a row of the log was altered")

	s.exec(db, "DELETE FROM session_segments WHERE session_id = ?")
	s.exec(db, "DELETE FROM session_epochs WHERE session_id = ?")
	s.exec(db, "DELETE FROM session_owners WHERE session_id = ?")
	s.replaces(db, `UPDATE whatsapp_sessions mine JOIN whatsapp_sessions other SET mine.session_data = other.session_data
		WHERE mine.session_id = ? AND other.session_id = ?`, other)
	refused("the credentials", "another session")

	s.putBack(db, own)
	_, err := fresh.Open(s.ctx, s.session)
	s.must(err)
	s.talk(fresh)
	s.nothingLost(fresh)
}

// An older, sealed state of a session is put back, and nobody says so. The machine
// that saw the log go further does not take the seal for the newest (its high-water
// file): it starts safely, and nothing is lost.
func TestRolledBackLogIsNotBelieved(t *testing.T) {
	s := newScene(t)
	c := s.paired("c")
	s.talk(c)
	s.rolledBack(c)
	again := s.connectorIn(c.ID(), c.DataDir())
	s.must(again.WaitState(s.ctx, s.session, "connected", "restored safely"))
	if mine := s.mine(again); mine.Start != "safe" {
		t.Errorf("start from a log that was rolled back is %q, want safe", mine.Start)
	}
	s.talk(again)
	s.nothingLost(again)
}

// rolledBack stops the session's connector and notes what the database then holds
// of the session, lets it go on for a while, stops it, and puts that back.
func (s *scene) rolledBack(c *rig.Connector) {
	s.t.Helper()
	s.must(c.Stop(stopTime))
	db := s.database()
	var backup []tableDump
	for _, table := range sessionTables {
		backup = append(backup, s.dump(db, table, "session_id = ?"))
	}
	c = s.connectorIn(c.ID(), c.DataDir())
	s.must(c.WaitState(s.ctx, s.session, "connected"))
	for range 3 {
		s.talk(c) // the ratchets go on: the backup's state would reuse their keys
	}
	s.must(c.Stop(stopTime))
	s.putBack(db, backup)
}

// putBack makes what was dumped all that the database has of the session.
func (s *scene) putBack(db *sql.DB, backup []tableDump) {
	s.t.Helper()
	for _, table := range sessionTables {
		_, err := db.ExecContext(s.ctx, "DELETE FROM "+table+" WHERE session_id = ?", s.session)
		s.must(err)
	}
	for _, d := range backup {
		s.insert(db, d)
	}
}

// replaces runs a statement about this session and another.
func (s *scene) replaces(db *sql.DB, query string, other *scene) {
	s.t.Helper()
	result, err := db.ExecContext(s.ctx, query, s.session, other.session)
	s.must(err)
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		s.t.Fatalf("no row was replaced (%v)", err)
	}
}
