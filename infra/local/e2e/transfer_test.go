package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cloudsession/infra/local/rig"
)

// A session moves out and in again, as a whatsmeow file and as a Baileys folder,
// and goes on in the same Signal sessions: nobody has to ask for a message again.
func TestMoveOutAndIn(t *testing.T) {
	s := newScene(t)
	c := s.paired("c")
	s.talk(c)
	dir := t.TempDir()
	retries := world.WhatsApp.Counters().RetryReceipts
	for i, kind := range []string{"whatsmeow", "baileys", "whatsmeow", "baileys"} {
		out := filepath.Join(dir, kind, string(rune('a'+i)))
		device := s.device() // what it has not acknowledged yet would come again
		s.must(world.WhatsApp.Wait(s.ctx, func() bool { return world.WhatsApp.Device(device).Queued == 0 }))
		s.cli(c, 0, s.session+" is in", "export", kind, "--session", s.session, "--out", out)
		s.must(c.WaitState(s.ctx, s.session, "exported"))
		before := s.peerWrites() // while it is nowhere
		s.session += "'"
		s.cli(c, 0, s.session+" is here", "import", kind, out, "--session", s.session, "--stopped-cleanly")
		s.must(c.WaitState(s.ctx, s.session, "connected"))
		_, err := c.WaitText(s.ctx, s.session, before)
		s.must(err)
		s.talk(c)
	}
	if now := world.WhatsApp.Counters().RetryReceipts; now != retries {
		t.Errorf("%d messages were asked for again", now-retries)
	}
	s.nothingLost(c)
}

// What is not known to be the newest state starts safely, and a session that was
// moved out is not gone: opened here again it starts safely, too.
func TestMoveInSafelyAndBack(t *testing.T) {
	s := newScene(t)
	c := s.paired("c")
	s.talk(c)
	dir := t.TempDir()
	first, folder := s.session, filepath.Join(dir, "folder")
	s.cli(c, 0, "is in", "export", "baileys", "--session", s.session, "--out", folder)
	s.session += " again"
	s.cli(c, 0, "is here", "import", "baileys", folder, "--session", s.session)
	s.must(c.WaitState(s.ctx, s.session, "restored safely"))
	s.talk(c)
	s.talk(c)
	s.must(c.WaitState(s.ctx, s.session, "connected"))
	s.must(c.Close(s.ctx, s.session))

	s.session = first
	opened, err := c.Open(s.ctx, s.session)
	s.must(err)
	if opened.Start != "safe" {
		t.Errorf("start is %q, want safe", opened.Start)
	}
	s.must(c.WaitState(s.ctx, s.session, "restored safely", "connected"))
	s.talk(c)
	s.nothingLost(c)
}

// An import over an existing session is refused unless told, and then the old
// state stays as a restore point. What is wrong with an import changes nothing.
func TestImportsThatAreRefused(t *testing.T) {
	s := newScene(t)
	c := s.paired("c")
	s.talk(c)
	dir := t.TempDir()
	file, empty := filepath.Join(dir, "session.db"), filepath.Join(dir, "empty")
	s.must(os.Mkdir(empty, 0o700))
	s.must(os.WriteFile(filepath.Join(dir, "taken"), bytes.Repeat([]byte("x"), 4096), 0o600))

	s.cli(c, 1, "there is something already", "export", "whatsmeow", "--session", s.session, "--out", filepath.Join(dir, "taken"))
	s.must(c.WaitState(s.ctx, s.session, "connected")) // it was not closed for that
	s.cli(c, 1, "creds.json", "import", "baileys", empty, "--session", s.session+" 2")
	s.cli(c, 1, "not an intact SQLite file", "import", "whatsmeow", filepath.Join(dir, "taken"), "--session", s.session+" 2")
	s.cli(c, 1, "no such file", "import", "whatsmeow", filepath.Join(dir, "nothing"), "--session", s.session+" 2")
	s.cli(c, 1, `required flag(s) "session"`, "import", "whatsmeow", file)

	s.cli(c, 0, "is in", "export", "whatsmeow", "--session", s.session, "--out", file)
	s.cli(c, 1, "already linked", "import", "whatsmeow", file, "--session", s.session)
	s.cli(c, 0, "is here", "import", "whatsmeow", file, "--session", s.session, "--replace", "--stopped-cleanly")
	s.must(c.WaitState(s.ctx, s.session, "connected"))
	s.talk(c)
	s.waitPushed(c)
	s.nothingLost(c)
	s.cli(c, 0, "", "inspect", "verify", s.session)
	var bases int
	s.must(s.database().QueryRowContext(s.ctx,
		"SELECT COUNT(DISTINCT epoch) FROM session_segments WHERE session_id = ? AND kind = 'base'", s.session).Scan(&bases))
	if bases < 2 {
		t.Errorf("%d restore points, the old state is gone", bases)
	}
}

// cli runs a subcommand beside the connector and checks its exit and what it says.
func (s *scene) cli(c *rig.Connector, code int, says string, args ...string) {
	s.t.Helper()
	cmd := c.Command(s.ctx, args...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != code || !strings.Contains(string(out), says) {
		s.t.Fatalf("connector %s: %v, want exit %d and %q\n%s", strings.Join(args, " "), err, code, says, out)
	}
}
