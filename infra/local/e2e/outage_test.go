package e2e

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"cloudsession/connector/control"
	"cloudsession/infra/local/rig"
)

// kill -9 between the local commit and the push loses nothing: the next start
// goes on with the file and pushes what was left.
func TestKillBetweenCommitAndPush(t *testing.T) {
	s := newScene(t)
	link, env := s.databaseLink()
	c := s.paired("c", env...)
	s.talk(c)
	s.waitPushed(c)
	link.cut()
	s.says(c) // committed here, in TiDB not
	s.says(c)
	s.must(c.Kill9())
	link.mend()

	again := s.connectorIn(c.ID(), c.DataDir(), env...)
	s.must(again.WaitState(s.ctx, s.session, "connected"))
	if mine := s.mine(again); mine.Start != "own-file" {
		t.Errorf("after the crash: %+v, want a start from the own file", mine)
	}
	s.talk(again)
	s.waitPushed(again)
	s.must(again.Stop(stopTime))

	elsewhere := s.connector("elsewhere")
	opened, err := elsewhere.Open(s.ctx, s.session)
	s.must(err)
	if opened.Start != "exact" {
		t.Errorf("start is %q, want exact", opened.Start)
	}
	s.must(elsewhere.WaitState(s.ctx, s.session, "connected"))
	s.talk(elsewhere)
	s.nothingLost(elsewhere)
}

// SIGTERM ends a connector, everything pushed and sealed.
func TestCleanStop(t *testing.T) {
	s := newScene(t)
	c := s.paired("c")
	s.talk(c)
	s.must(c.Stop(stopTime))
	if !strings.Contains(c.Logs(), "log sealed") || !strings.Contains(c.Logs(), "clean=true") {
		t.Errorf("the connector did not say that it ended cleanly:\n%s", c.Logs())
	}
	if _, err := os.Stat(c.Socket()); err == nil {
		t.Error("the local socket was left behind")
	}
	again := s.connectorIn(c.ID(), c.DataDir())
	s.must(again.WaitState(s.ctx, s.session, "connected"))
	s.talk(again)
	s.nothingLost(again)
}

// TiDB is down when the connector starts: it says what it waits for, and goes
// on when TiDB comes.
func TestDatabaseDownAtStart(t *testing.T) {
	s := newScene(t)
	link, env := s.databaseLink()
	link.cut()
	started := make(chan error, 1)
	var c *rig.Connector
	out := &lockedBuffer{}
	go func() {
		var err error
		c, err = world.StartConnectorTo(s.ctx, out, "late-db", t.TempDir(), env...)
		started <- err
	}()
	for !strings.Contains(out.String(), "waiting for TiDB") {
		select {
		case err := <-started:
			t.Fatalf("connector did not wait for TiDB: %v\n%s", err, out.String())
		case <-s.ctx.Done():
			t.Fatalf("connector never said what it waits for:\n%s", out.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
	link.mend()
	s.must(<-started)
	s.must(c.Pair(s.ctx, s.session, s.owner))
	s.talk(c)
	s.must(c.Stop(stopTime))
}

// SQS is away: a command's row is found by the heartbeat all the same.
func TestQueueDown(t *testing.T) {
	s := newScene(t)
	c := s.paired("c", "AWS_ENDPOINT_URL_SQS=http://127.0.0.1:1")
	s.call(http.StatusOK, http.MethodPost, "/sync")
	s.restore()
	s.talk(c)
	s.nothingLost(c)
}

// The database goes away under the API: 503 with nothing internal in it, and
// everything works again when it is back.
func TestAPIWithoutDatabase(t *testing.T) {
	s := newScene(t)
	s.must(world.Stack.StopDatabase())
	for _, what := range []struct{ method, path string }{
		{http.MethodGet, "/cloud/sessions"},
		{http.MethodGet, s.path("/status")},
		{http.MethodPost, s.path("/sync")},
		{http.MethodPost, s.path("/restore")},
		{http.MethodDelete, s.path("")},
	} {
		resp, err := world.API(s.ctx, what.method, what.path, nil)
		if err != nil || resp.Status != http.StatusServiceUnavailable || strings.Contains(string(resp.Body), "dial") {
			t.Errorf("%s %s: %d %s, %v; want 503", what.method, what.path, resp.Status, resp.Body, err)
		}
	}
	s.must(world.Stack.StartDatabase(s.ctx))
	if resp := s.answer(http.MethodGet, "/cloud/sessions", nil); resp.Status != http.StatusOK {
		t.Errorf("after the outage: %d %s", resp.Status, resp.Body)
	}
	c := s.paired("c")
	s.talk(c)
	s.nothingLost(c)
}

// The disk is full: an incoming message is not acknowledged and not lost, it
// comes again when there is room.
func TestDiskFull(t *testing.T) {
	s := newScene(t)
	c := s.paired("c")
	s.talk(c)
	s.waitPushed(c)
	s.must(c.LimitFiles(0))
	text := s.peerWrites()
	s.waitLog(c, "disk")
	s.must(c.LimitFiles(1 << 40))
	_, err := c.WaitText(s.ctx, s.session, text)
	s.must(err)
	s.talk(c)
	s.nothingLost(c)
}

// A row of the log is damaged in TiDB: the restore fails with a reason, nothing
// is half done, and the damage mended, the session comes back.
func TestDamagedCloudRow(t *testing.T) {
	s := newScene(t)
	c := s.paired("c")
	s.talk(c)
	s.waitPushed(c)
	s.must(c.Stop(stopTime))

	db := s.database()
	flip := `UPDATE session_segments SET data = CONCAT(SUBSTRING(data, 1, LENGTH(data) - 40), CHAR(ASCII(SUBSTRING(data, LENGTH(data) - 39, 1)) ^ 1 USING binary), SUBSTRING(data, LENGTH(data) - 38)) WHERE session_id = ? AND kind = 'base'`
	s.exec(db, flip)
	fresh := s.connector("fresh")
	if _, err := fresh.Open(s.ctx, s.session); err == nil || !strings.Contains(err.Error(), "seq") {
		t.Errorf("open with a damaged row: %v", err)
	}
	if body := s.call(http.StatusOK, http.MethodGet, "/status"); !strings.Contains(body, "failed") {
		t.Errorf("status after a failed restore: %s", body)
	}
	s.exec(db, flip)
	opened, err := fresh.Open(s.ctx, s.session)
	s.must(err)
	if opened.Start != "exact" {
		t.Errorf("start after a failed attempt is %q, want exact as before it", opened.Start)
	}
	s.must(fresh.WaitState(s.ctx, s.session, "connected"))
	s.talk(fresh)
	s.nothingLost(fresh)
}

// DELETE removes the copy, not the session; a later sync makes a new copy.
func TestDeleteAndSyncAgain(t *testing.T) {
	s := newScene(t)
	c := s.paired("c")
	s.talk(c)
	s.call(http.StatusOK, http.MethodDelete, "")
	s.call(http.StatusNotFound, http.MethodGet, "/status")
	s.call(http.StatusNotFound, http.MethodDelete, "")
	s.talk(c)
	s.call(http.StatusOK, http.MethodPost, "/sync")
	s.call(http.StatusOK, http.MethodGet, "/status")
	s.talk(c)
	s.waitPushed(c)
	if mine := s.mine(c); mine.Unprotected != "" {
		t.Errorf("messages don't wait for the new copy: %s", mine.Unprotected)
	}
	s.must(c.Stop(stopTime))
	other := s.connector("other")
	s.restore()
	s.talk(other)
	s.nothingLost(other)
}

// A session restored from a crash stays marked until it has proved itself.
func TestStatusAfterSafeRestore(t *testing.T) {
	s := newScene(t)
	c := s.paired("c")
	s.talk(c)
	s.waitPushed(c)
	s.must(c.Kill9())
	s.must(os.RemoveAll(c.DataDir()))
	fresh := s.connector("fresh")
	s.restore()
	s.must(fresh.WaitState(s.ctx, s.session, "restored safely"))
	s.talk(fresh)
	s.must(fresh.WaitState(s.ctx, s.session, "connected"))
	s.nothingLost(fresh)
}

// A sent message keeps its idempotency key: repeating the request sends nothing.
func TestSendTwiceWithOneKey(t *testing.T) {
	s := newScene(t)
	c := s.paired("c")
	req := control.SendRequest{To: s.peer.PN().String(), Text: "once", Key: "order 17"}
	first, err := c.Send(s.ctx, s.session, req)
	s.must(err)
	second, err := c.Send(s.ctx, s.session, req)
	s.must(err)
	if first.ID != second.ID {
		t.Errorf("the repeated request got id %s, the first %s", second.ID, first.ID)
	}
	req.Text = "something else"
	if _, err := c.Send(s.ctx, s.session, req); err == nil {
		t.Error("another text under the same key was accepted")
	}
	s.nothingLost(c)
}

func (s *scene) database() *sql.DB {
	s.t.Helper()
	db, err := openDatabase(s.storeConfig())
	s.must(err)
	s.t.Cleanup(func() { _ = db.Close() })
	return db
}

// retire keeps later tests' connectors from taking over this one's sessions,
// which is what they would rightly do once a stopped one doesn't come back.
func (s *scene) retire() {
	db, err := openDatabase(s.storeConfig())
	s.must(err)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	_, err = db.ExecContext(ctx, "UPDATE session_owners SET wanted = 'closed'")
	if err = errors.Join(err, db.Close()); err != nil {
		s.t.Errorf("retire sessions: %v", err)
	}
}

func (s *scene) exec(db *sql.DB, query string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, 2*time.Minute)
	defer cancel()
	res, err := db.ExecContext(ctx, query, s.session)
	s.must(err)
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		s.t.Fatalf("no row was changed (%v)", err)
	}
}
