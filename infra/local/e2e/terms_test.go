package e2e

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloudsession/connector/capture"
	"cloudsession/connector/control"
	"cloudsession/infra/local/faultproxy"
	"cloudsession/shared/cloudstore"
)

// How a term starts: exactly, from the own file, or safely, and what must never
// pass for exact.

// The machine went down without a clean end: its last commits may not have
// reached the disk, so the Signal state of the file isn't used. What it holds
// beyond the log is.
func TestStartAfterAnUncleanBoot(t *testing.T) {
	s := newScene(t)
	db, env := s.faultyDatabase()
	c := s.paired("c", env...)
	s.talk(c)
	s.waitPushed(c)
	db.Set(faultproxy.Fault{Cut: true})
	only := s.peerWrites()
	_, err := c.WaitText(s.ctx, s.session, only)
	s.must(err)
	s.waitAcknowledged() // and so WhatsApp won't send it again
	s.must(c.Kill9())
	db.Set(faultproxy.Fault{})
	// As if the file had been begun before the machine went down.
	f, err := capture.Open(s.ctx, s.sessionFile(c.DataDir()), capture.Options{})
	s.must(err)
	_, err = f.DB().ExecContext(s.ctx, "UPDATE cloudsession_state SET boot_id = 'an earlier boot'")
	s.must(errors.Join(err, f.Close()))

	again := s.connectorIn(c.ID(), c.DataDir())
	s.startsSafely(again)
	_, err = again.WaitText(s.ctx, s.session, only)
	s.must(err)
	s.nothingLost(again)
}

// A clone connects while TiDB is away: the session is restored safely, and what
// the file alone holds is still there.
func TestReplacedByACloneWhileTheDatabaseIsAway(t *testing.T) {
	s := newScene(t)
	db, env := s.faultyDatabase()
	c := s.paired("c", env...)
	s.talk(c)
	s.waitPushed(c)
	db.Set(faultproxy.Fault{Cut: true})
	only := s.peerWrites()
	_, err := c.WaitText(s.ctx, s.session, only)
	s.must(err)
	s.waitAcknowledged()
	device := s.device()
	if n := world.WhatsApp.Faults().Replace(&device); n != 1 {
		t.Fatalf("%d sockets", n)
	}
	lost := false // this machine is so slow that the lease ran out: then it is no clone
	s.wait("the connector to judge", func() bool {
		m := s.mine(c)
		lost = m.State == "lost"
		return lost || strings.Contains(m.Detail, "it will be restored")
	})
	db.Set(faultproxy.Fault{})
	s.startsSafely(c)
	if !lost {
		_, err = c.WaitText(s.ctx, s.session, only)
		s.must(err)
	}
	s.nothingLost(c)
}

// Rows are missing from a sealed log: that is an error, not a smaller session.
// Nothing is changed by the attempt, and with the row back the start is exact.
func TestSealedLogThatLostRows(t *testing.T) {
	s := newScene(t)
	c := s.paired("c")
	s.talk(c)
	s.waitPushed(c)
	s.talk(c)
	s.waitPushed(c)
	s.must(c.Stop(stopTime))
	db := s.database()
	s.exec(db, "UPDATE session_owners SET wanted = 'closed' WHERE session_id = ?") // no sweep opens it with a row back
	last := s.lastSeq(db)
	fresh := s.connector("fresh")
	for what, seq := range map[string]uint64{"tail": last, "middle": last - 1} {
		where := fmt.Sprintf("session_id = ? AND seq = %d AND epoch = (SELECT epoch FROM session_owners WHERE session_id = session_segments.session_id)", seq)
		rows := s.dump(db, "session_segments", where)
		if len(rows.values) != 1 {
			t.Fatalf("%s: %d rows", what, len(rows.values))
		}
		s.exec(db, "DELETE FROM session_segments WHERE "+where)
		if opened, err := fresh.Open(s.ctx, s.session); err == nil || !strings.Contains(err.Error(), "missing") {
			t.Errorf("%s: opened %+v, %v", what, opened, err)
		}
		if body := s.call(http.StatusOK, http.MethodGet, "/status"); !strings.Contains(body, `"state":"failed","stateDetail":"the log in the cloud has a gap"`) {
			t.Errorf("%s: status %s", what, body)
		}
		if body := s.call(http.StatusConflict, http.MethodPost, "/restore"); !strings.Contains(body, "damaged") {
			t.Errorf("%s: restore %s", what, body)
		}
		s.insert(db, rows)
	}
	opened, err := fresh.Open(s.ctx, s.session)
	s.must(err)
	if opened.Start != "exact" {
		t.Errorf("start with the rows back is %q, want exact", opened.Start)
	}
	s.must(fresh.WaitState(s.ctx, s.session, "connected"))
	s.talk(fresh)
	s.nothingLost(fresh)
}

// A seal that somebody else wrote proves nothing, and says that the log was
// tampered with.
func TestForgedSeal(t *testing.T) {
	s := newScene(t)
	c := s.paired("c")
	s.talk(c)
	s.must(c.Stop(stopTime))
	db := s.database()
	const forge = `UPDATE session_segments SET data = CONCAT(SUBSTRING(data, 1, LENGTH(data) - 40), CHAR(ASCII(SUBSTRING(data, LENGTH(data) - 39, 1)) ^ 1 USING binary), SUBSTRING(data, LENGTH(data) - 38))
		WHERE session_id = ? AND kind = 'seal'`
	s.exec(db, forge)
	fresh := s.connector("fresh")
	if opened, err := fresh.Open(s.ctx, s.session); err == nil || !strings.Contains(err.Error(), "altered") {
		t.Errorf("opened %+v, %v", opened, err)
	}
	s.waitStatus(`"state":"failed"`, `"stateDetail":"a row of the log in the cloud was changed"`)
	s.exec(db, forge) // and back
	opened, err := fresh.Open(s.ctx, s.session)
	s.must(err)
	if opened.Start != "exact" {
		t.Errorf("start with the right seal is %q, want exact", opened.Start)
	}
	s.must(fresh.WaitState(s.ctx, s.session, "connected"))
	s.talk(fresh)
	s.nothingLost(fresh)
}

// Two connectors are asked for the session at once: one has it, the other says
// who does, and there is one socket.
func TestTwoRestoresRace(t *testing.T) {
	s := newScene(t)
	c := s.paired("c")
	s.talk(c)
	device := s.owner.Devices()[0]
	s.must(c.Stop(stopTime))
	racers := []*rigConnector{s.connector("left"), s.connector("right")}
	type outcome struct {
		c   *rigConnector
		s   control.Session
		err error
	}
	outcomes, start := make(chan outcome), make(chan struct{})
	for _, r := range racers {
		go func() {
			<-start
			opened, err := r.Open(s.ctx, s.session)
			outcomes <- outcome{r, opened, err}
		}()
	}
	close(start)
	var winner *rigConnector
	for range racers {
		o := <-outcomes
		switch {
		case o.err == nil && winner == nil:
			winner = o.c
			if o.s.Start != "exact" {
				t.Errorf("the winner's start is %q", o.s.Start)
			}
		case o.err == nil:
			t.Error("both connectors have the session")
		case !strings.Contains(o.err.Error(), "held by another connector"):
			t.Errorf("the loser says: %v", o.err)
		}
	}
	if winner == nil {
		t.Fatal("nobody has the session")
	}
	s.must(winner.WaitState(s.ctx, s.session, "connected"))
	s.talk(winner)
	if n := world.WhatsApp.Device(device).Sockets; n != 1 {
		t.Errorf("%d sockets", n)
	}
	s.nothingLost(winner)
}

// A safe start that was handed over before it proved itself: the next start is
// exact, and the mark travels with the state until a message has gone out and
// one has come in. The API tells so all the while.
func TestSafeStartIsHandedOver(t *testing.T) {
	s := newScene(t)
	c := s.paired("c")
	s.talk(c)
	s.must(c.Stop(stopTime))
	s.exec(s.database(), "DELETE FROM session_segments WHERE session_id = ? AND kind = 'seal'") // as after a crash
	first := s.connector("first")
	_, err := first.Open(s.ctx, s.session)
	s.must(err)
	s.must(first.WaitState(s.ctx, s.session, "restored safely"))
	s.waitStatus(`"state":"restored safely"`, `"start":"safe"`)
	s.must(first.Close(s.ctx, s.session))

	second := s.connector("second")
	opened, err := second.Open(s.ctx, s.session)
	s.must(err)
	if opened.Start != "exact" {
		t.Errorf("start after the handover is %q, want exact", opened.Start)
	}
	s.must(second.WaitState(s.ctx, s.session, "restored safely"))
	s.waitStatus(`"state":"restored safely"`, `"start":"exact"`)
	s.says(second)
	s.must(second.WaitState(s.ctx, s.session, "restored safely"))
	s.hears(second)
	s.must(second.WaitState(s.ctx, s.session, "connected"))
	s.waitStatus(`"state":"connected"`)
	s.nothingLost(second)
}

// The database was restored from a backup in which the session's log is sealed,
// and the session has gone on since. Said so, the next start is safe and nothing
// is lost; a connector that runs finds out by itself.
func TestDatabaseRestoredFromABackup(t *testing.T) {
	s := newScene(t)
	s.ownDatabase() // the command is about every session there, whatever other tests have made of theirs
	c := s.paired("c")
	s.talk(c)
	s.rolledBack(c)
	s.databaseRestored(c)
	elsewhere := s.connector("elsewhere") // it has no mark that could tell
	_, err := elsewhere.Open(s.ctx, s.session)
	s.must(err)
	s.startsSafely(elsewhere)

	s.databaseRestored(elsewhere)
	s.waitLog(elsewhere, "session lost")
	s.startsSafely(elsewhere) // by its own sweep, or it would stay lost
	s.nothingLost(elsewhere)
}

// Back to an older point of the log, by its place or by a time: for a log that is
// damaged behind it, or because somebody wants it. The start is safe, and what
// follows is exact again.
func TestRestoreToAnOlderPoint(t *testing.T) {
	s := newScene(t)
	c := s.paired("c")
	s.talk(c)
	s.waitPushed(c)
	db := s.database()
	var point string
	s.must(db.QueryRowContext(s.ctx, `SELECT CONCAT(g.epoch, '.', MAX(g.seq)) FROM session_segments g
		WHERE g.session_id = ? AND g.kind IN ('base', 'delta') AND g.part = g.parts GROUP BY g.epoch`, s.session).Scan(&point))
	for range 3 {
		s.talk(c) // what the point knows nothing of
	}
	if out, err := c.Command(s.ctx, "restore", s.session, "--at", point).CombinedOutput(); err == nil || !strings.Contains(string(out), "close it first") {
		t.Errorf("restore of an open session: %v %s", err, out)
	}
	s.must(c.Stop(stopTime))
	s.exec(db, fmt.Sprintf("DELETE FROM session_segments WHERE session_id = ? AND seq = %d AND kind <> 'seal'", s.lastSeq(db)))

	fresh := s.connector("fresh")
	if _, err := fresh.Open(s.ctx, s.session); err == nil {
		t.Fatal("a damaged log was opened")
	}
	for _, bad := range []string{"7.7", "2001-01-01T00:00:00Z", "yesterday"} {
		if out, err := fresh.Command(s.ctx, "restore", s.session, "--at", bad).CombinedOutput(); err == nil {
			t.Errorf("restore at %s: %s", bad, out)
		}
	}
	out, err := fresh.Command(s.ctx, "restore", s.session, "--at", point).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "start safe") {
		t.Fatalf("restore at %s: %v %s", point, err, out)
	}
	s.startsSafely(fresh)
	s.nothingLost(fresh)
	s.must(fresh.Close(s.ctx, s.session))

	// By a time: now is the newest point. And the term before was sealed: exact.
	if opened, err := fresh.Open(s.ctx, s.session); err != nil || opened.Start != "exact" {
		t.Errorf("open after a term that went back: %+v, %v", opened, err)
	}
	s.talk(fresh)
	s.must(fresh.Close(s.ctx, s.session))
	out, err = fresh.Command(s.ctx, "restore", s.session, "--at", time.Now().Add(time.Hour).Format(time.RFC3339)).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "start safe") {
		t.Fatalf("restore by time: %v %s", err, out)
	}
	s.startsSafely(fresh)
	s.nothingLost(fresh)
}

// databaseRestored runs the command that says so.
func (s *scene) databaseRestored(c *rigConnector) {
	s.t.Helper()
	out, err := c.Command(s.ctx, "database-restored").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "start safely") {
		s.t.Fatalf("connector database-restored: %v\n%s", err, out)
	}
}

// startsSafely waits for a safe start and lets the session prove itself.
func (s *scene) startsSafely(c *rigConnector) {
	s.t.Helper()
	s.must(c.WaitState(s.ctx, s.session, "restored safely"))
	if mine := s.mine(c); mine.Start != "safe" {
		s.t.Errorf("start is %q, want safe", mine.Start)
	}
	s.waitStatus(`"state":"restored safely"`)
	s.talk(c)
	s.must(c.WaitState(s.ctx, s.session, "connected"))
	s.waitStatus(`"state":"connected"`)
}

// waitStatus waits until the API's status of the session holds all the texts.
func (s *scene) waitStatus(texts ...string) {
	s.t.Helper()
	for {
		body, missing := s.status(), ""
		for _, text := range texts {
			if !strings.Contains(body, text) {
				missing = text
			}
		}
		if missing == "" {
			return
		}
		select {
		case <-s.ctx.Done():
			s.t.Fatalf("status %s never said %s", body, missing)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// status is what the API says of the session, or, of one that it doesn't serve,
// what it would take it from.
func (s *scene) status() string {
	s.t.Helper()
	if s.schema == "" {
		return s.call(http.StatusOK, http.MethodGet, "/status")
	}
	store, err := cloudstore.Open(s.storeConfig())
	s.must(err)
	st, err := store.SessionStatus(s.ctx, s.session)
	s.must(errors.Join(err, store.Close()))
	return fmt.Sprintf(`"state":"%s","stateDetail":"%s","start":"%s"`, st.State, st.StateDetail, st.Start)
}

// sessionFile is the only adopted session file in a data directory.
func (s *scene) sessionFile(dataDir string) string {
	s.t.Helper()
	files := s.glob(dataDir, "*.db")
	if len(files) != 1 {
		s.t.Fatalf("session files: %v", files)
	}
	return files[0]
}

// glob lists files of all sessions' folders in a data directory.
func (s *scene) glob(dataDir string, pattern ...string) []string {
	s.t.Helper()
	files, err := filepath.Glob(filepath.Join(append([]string{dataDir, "sessions", "*"}, pattern...)...))
	s.must(err)
	return files
}

// lastSeq is the last data row of the session's current term.
func (s *scene) lastSeq(db *sql.DB) (seq uint64) {
	s.t.Helper()
	s.must(db.QueryRowContext(s.ctx, `SELECT MAX(g.seq) FROM session_segments g JOIN session_owners o ON o.session_id = g.session_id AND o.epoch = g.epoch
		WHERE g.session_id = ? AND g.kind IN ('base', 'delta')`, s.session).Scan(&seq))
	return seq
}

// sessionTables hold what the database knows of a session.
var sessionTables = []string{"whatsapp_sessions", "session_segments", "session_epochs", "session_owners"}

// tableDump is some of a table's rows.
type tableDump struct {
	table   string
	columns []string
	values  [][]any
}

func (s *scene) dump(db *sql.DB, table, where string) tableDump {
	s.t.Helper()
	rows, err := db.QueryContext(s.ctx, "SELECT * FROM "+table+" WHERE "+where, s.session)
	s.must(err)
	defer func() { s.must(rows.Close()) }()
	d := tableDump{table: table}
	d.columns, err = rows.Columns()
	s.must(err)
	for rows.Next() {
		row := make([]any, len(d.columns))
		at := make([]any, len(d.columns))
		for i := range row {
			at[i] = &row[i]
		}
		s.must(rows.Scan(at...))
		d.values = append(d.values, row)
	}
	s.must(rows.Err())
	return d
}

func (s *scene) insert(db *sql.DB, d tableDump) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, 2*time.Minute)
	defer cancel()
	places := "(" + strings.TrimSuffix(strings.Repeat("?, ", len(d.columns)), ", ") + ")"
	for _, row := range d.values {
		_, err := db.ExecContext(ctx, "INSERT INTO "+d.table+" ("+strings.Join(d.columns, ", ")+") VALUES "+places, row...)
		s.must(err)
	}
}
