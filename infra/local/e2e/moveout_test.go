package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A draining connector takes no sessions, but one that it has may be moved out, or
// replaced: its place is its own.
func TestMoveOutOfADrainingConnector(t *testing.T) {
	s := newScene(t)
	s.ownDatabase()
	c := s.paired("c")
	s.talk(c)
	first, second := filepath.Join(t.TempDir(), "first"), filepath.Join(t.TempDir(), "second")
	s.cli(c, 1, "no other live connector", "drain")
	s.cli(c, 0, "is in", "export", "whatsmeow", "--session", s.session, "--out", first)
	s.cli(c, 1, "draining", "import", "whatsmeow", first, "--session", s.session, "--replace", "--stopped-cleanly")
	s.cli(c, 0, "", "drain", "--stop")
	s.cli(c, 0, "is here", "import", "whatsmeow", first, "--session", s.session, "--replace", "--stopped-cleanly")
	s.must(c.WaitState(s.ctx, s.session, "connected"))
	s.cli(c, 1, "no other live connector", "drain")
	s.cli(c, 0, "is here", "import", "whatsmeow", first, "--session", s.session, "--replace")
	s.must(c.WaitState(s.ctx, s.session, "restored safely"))
	s.talk(c)
	s.cli(c, 0, "is in", "export", "whatsmeow", "--session", s.session, "--out", second)
}

// An export that fails after the session was closed for it leaves a session that is
// to be open, and is opened.
func TestExportThatFails(t *testing.T) {
	s := newScene(t)
	c := s.paired("c")
	s.talk(c)
	out := filepath.Join(t.TempDir(), "out")
	inTheWay := filepath.Join(filepath.Dir(s.sessionFile(c.DataDir())), "export.db-wal")
	s.must(os.MkdirAll(filepath.Join(inTheWay, "full"), 0o700))
	s.cli(c, 1, "unfinished file", "export", "whatsmeow", "--session", s.session, "--out", out)
	s.must(c.WaitState(s.ctx, s.session, "connected"))
	s.talk(c)
	s.nothingLost(c)
	if strings.Contains(c.Logs(), "start=safe") {
		t.Error("the session was opened again safely, not exactly")
	}
	s.must(os.RemoveAll(inTheWay))
	s.cli(c, 0, "is in", "export", "whatsmeow", "--session", s.session, "--out", out)
}
