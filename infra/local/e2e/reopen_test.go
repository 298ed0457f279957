package e2e

import (
	"database/sql"
	"path/filepath"
	"testing"

	_ "modernc.org/sqlite"
)

// A session whose file forgets what it has in flight can't push any more. It is
// closed and opened again by itself, and nothing is lost.
func TestReplicationThatDiesIsStartedAgain(t *testing.T) {
	s := newScene(t)
	link, env := s.databaseLink()
	c := s.paired("c", env...)
	s.talk(c)
	s.waitPushed(c)
	epoch := s.mine(c).Epoch
	link.cut()
	s.says(c) // pushed in vain: it is in flight now
	files, err := filepath.Glob(filepath.Join(c.DataDir(), "sessions", "*", "*.db"))
	s.must(err)
	if len(files) != 1 {
		t.Fatalf("%d session files", len(files))
	}
	db, err := sql.Open("sqlite", "file:"+files[0]+"?_pragma=busy_timeout(5000)")
	s.must(err)
	for n := int64(0); n == 0; {
		res, err := db.ExecContext(s.ctx, "DELETE FROM cloudsession_in_flight")
		s.must(err)
		n, err = res.RowsAffected()
		s.must(err)
	}
	s.must(db.Close())
	link.mend()

	s.waitLog(c, "to be opened again")
	s.wait("the session to be opened again", func() bool {
		m := s.mine(c)
		return m.Epoch > epoch && (m.State == "connected" || m.State == "restored safely")
	})
	s.talk(c)
	s.waitPushed(c)
	s.nothingLost(c)
}
