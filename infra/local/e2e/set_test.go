package e2e

import (
	"os"
	"strings"
	"testing"

	"cloudsession/connector/control"
	"cloudsession/infra/local/rig"
)

// A person chooses to keep the credentials alone, and then everything again. The start
// after the first choice still has what the log knew, no later one does, until the second
// choice makes a base, with which the session is gone on from as it is.
func TestSetBackup(t *testing.T) {
	s := newScene(t)
	a := s.paired("a")
	s.talk(a)
	s.cli(a, 0, s.session+": backup credentials, failover auto", "set", s.session, "--backup", "credentials")
	s.talk(a)
	known := s.shown(a)
	s.movesOut(a)
	rows := s.rows()

	b := s.restoredOn("b", "restored safely")
	if got := s.shown(b); got != known || s.mine(b).Unprotected == "" {
		t.Errorf("the first start has %d of %d messages, unprotected %q", got, known, s.mine(b).Unprotected)
	}
	s.talk(b)
	s.movesOut(b)
	c := s.restoredOn("c", "restored safely")
	if got := s.shown(c); got != 0 {
		t.Errorf("the next start has %d messages: where from?", got)
	}
	s.talk(c)
	if now := s.rows(); now != rows {
		t.Errorf("%d rows of the log, of %d before", now, rows)
	}

	s.cli(c, 0, "", "inspect", "verify", s.session)

	s.cli(c, 0, s.session+": backup full, failover auto", "set", s.session, "--backup", "full")
	s.wait("messages to be protected", func() bool { return s.mine(c).Unprotected == "" })
	s.talk(c)
	known = s.shown(c)
	s.movesOut(c)
	d := s.restoredOn("d", "connected")
	if got := s.shown(d); got != known || !strings.Contains(d.Logs(), "start=exact") {
		t.Errorf("with everything kept again: %d of %d messages, start=exact expected", got, known)
	}
	s.talk(d)
	s.nothingLost(d)
}

// What was acknowledged, and not taken by the application, before the credentials alone
// were chosen is in the log alone when the disk is lost: it is delivered all the same.
func TestSetBackupDeliversWhatIsOwed(t *testing.T) {
	s, app, c, texts := withUntaken(t)
	s.cli(c, 0, "backup credentials", "set", s.session, "--backup", "credentials")
	s.movesOut(c)
	c = s.connectorIn(c.ID(), t.TempDir(), app.Env()...)
	app.Answer(0)
	s.must(app.WaitTexts(s.ctx, texts...))
	s.must(c.WaitState(s.ctx, s.session, "restored safely", "connected"))
}

// What can't be chosen changes nothing, and says why.
func TestSetRefused(t *testing.T) {
	s := newScene(t)
	a := s.paired("a")
	s.talk(a)
	s.waitPushed(a)
	s.cli(a, 1, `session "nobody": not found in the cloud`, "set", "nobody", "--failover", "manual")
	s.cli(a, 1, "allowed are full and credentials", "set", s.session, "--backup", "off", "--failover", "manual")
	s.cli(a, 0, s.session+": backup full, failover manual", "set", s.session, "--failover", "manual")
	s.call(200, "DELETE", "")
	s.cli(a, 1, "its copy was deleted", "set", s.session, "--backup", "full")
	s.talk(a)
}

// movesOut stops a connector whose disk is lost then.
func (s *scene) movesOut(c *rig.Connector) {
	s.t.Helper()
	s.waitPushed(c)
	s.must(c.Stop(stopTime))
	s.must(os.RemoveAll(c.DataDir()))
}

// restoredOn restores the session on a new connector.
func (s *scene) restoredOn(name, state string) *rig.Connector {
	s.t.Helper()
	c := s.connector(name)
	s.restoreOn(200, c.ID())
	s.must(c.WaitState(s.ctx, s.session, state))
	return c
}

// shown counts the messages that a connector shows of the session.
func (s *scene) shown(c *rig.Connector) (n int) {
	s.t.Helper()
	s.must(c.Messages(s.ctx, s.session, 0, false, func(control.Message) error { n++; return nil }))
	return n
}

// rows counts the rows of the session's log that have data.
func (s *scene) rows() (n int) {
	s.t.Helper()
	s.must(s.database().QueryRowContext(s.ctx,
		"SELECT COUNT(*) FROM session_segments WHERE session_id = ? AND kind IN ('base', 'delta', 'seal')", s.session).Scan(&n))
	return n
}
