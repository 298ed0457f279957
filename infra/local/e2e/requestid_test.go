package e2e

import (
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cloudsession/infra/local/rig"
	"cloudsession/shared/cloudstore"
)

// linesOf are the log lines that name a request.
func linesOf(log, id string) string {
	var b strings.Builder
	for line := range strings.Lines(log) {
		if strings.Contains(line, "request_id="+id) {
			b.WriteString(line)
		}
	}
	return b.String()
}

// follow gives an order, waits until it is carried out, and returns the id that the
// answer named. Of a slow machine's answers that is the one whose request made the
// command; status is the attribute of the log that tells its status.
func (s *scene) follow(what string, body any) (id, status string) {
	s.t.Helper()
	db, statuses, before := s.database(), map[string]int{}, 0
	s.must(db.QueryRowContext(s.ctx, "SELECT COUNT(*) FROM commands WHERE session_id = ?", s.session).Scan(&before))
	for state := ""; state != cloudstore.CommandDone; s.pause() {
		if state == "" {
			resp, err := world.API(s.ctx, http.MethodPost, s.path(what), body)
			s.must(err)
			if id = resp.Header.Get("X-Request-Id"); id == "" {
				s.t.Fatal("the answer names no request")
			}
			if statuses[id] = resp.Status; resp.Status != http.StatusOK && !later(resp.Status) {
				s.t.Fatalf("%s: %d %s", what, resp.Status, resp.Body)
			}
		}
		err := db.QueryRowContext(s.ctx, "SELECT request_id, state FROM commands WHERE session_id = ? ORDER BY created_at LIMIT 1 OFFSET ?",
			s.session, before).Scan(&id, &state)
		if err != nil && !errors.Is(err, sql.ErrNoRows) { // it was refused before there was one
			s.t.Fatal(err)
		}
		if state == cloudstore.CommandFailed || state == cloudstore.CommandExpired {
			s.t.Fatalf("%s: the command is %s", what, state)
		}
	}
	if statuses[id] == 0 {
		s.t.Fatalf("%s: the command is of request %q, the answers of %v", what, id, statuses)
	}
	return id, fmt.Sprintf("status=%d", statuses[id])
}

// wantLines waits until the log says all of it on behalf of the request.
func (s *scene) wantLines(where string, log func() string, id string, texts ...string) {
	s.t.Helper()
	for _, text := range texts {
		s.wait(where+" to say "+text+" for request "+id, func() bool { return strings.Contains(linesOf(log(), id), text) })
	}
}

// One id leads from the answer of the API over the function's lines and the
// command's row to every line of the connectors that carried the command out.
func TestOneRequestIDFromAPIToConnectors(t *testing.T) {
	s := newScene(t)
	a := s.paired("a")
	b := s.connector("b")
	s.talk(a)
	functions := func() string {
		log, err := os.ReadFile(filepath.Join(world.dir, "processes.log"))
		s.must(err)
		return string(log)
	}

	sync, answered := s.follow("/sync", nil)
	s.wantLines("a", a.Logs, sync, "synced to cloud", "command done")
	s.wantLines("functions", functions, sync, "msg=command ", "msg=request ", "route=sync-session", answered)

	move, answered := s.follow("/restore", map[string]string{"connector": b.ID()})
	s.must(b.WaitState(s.ctx, s.session, "connected"))
	s.wantLines("a", a.Logs, move, "session closed, log sealed", "session handed over", "command handed on")
	s.wantLines("b", b.Logs, move, "command done")
	// b's sweep may find the session, which is reserved for it, before the command comes.
	if !strings.Contains(b.Logs(), "reason=sweep") {
		s.wantLines("b", b.Logs, move, "session taken", "loaded from cloud", "session connecting", "session connected")
	}
	s.wantLines("functions", functions, move, "msg=command ", "route=restore-session", answered)

	reload, _ := s.follow("/restore", nil)
	s.must(b.WaitState(s.ctx, s.session, "connected"))
	s.wantLines("b", b.Logs, reload, "session closed, log sealed", "session taken", "session connected", "command done")

	// A line belongs to one request, or to none: what the session does afterwards.
	s.talk(b)
	for _, c := range []*rig.Connector{a, b} {
		for line := range strings.SplitSeq(c.Logs(), "\n") {
			if strings.Count(line, "request_id=") > 1 {
				t.Errorf("a line of two requests: %s", line)
			}
		}
	}
	if lines := linesOf(a.Logs(), reload); lines != "" {
		t.Errorf("a took no part in it:\n%s", lines)
	}
	var rows int
	s.must(s.database().QueryRowContext(s.ctx, "SELECT COUNT(*) FROM commands WHERE session_id = ? AND request_id IN (?, ?, ?)",
		s.session, sync, move, reload).Scan(&rows))
	if rows != 3 {
		t.Errorf("%d commands have their request's id, want 3", rows)
	}
	t.Logf("a:\n%sb:\n%s", linesOf(a.Logs(), move), linesOf(b.Logs(), move))
}
