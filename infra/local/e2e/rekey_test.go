package e2e

import (
	"os"
	"strings"
	"testing"

	"cloudsession/infra/local/rig"
)

// The secret is changed: sessions that are open, closed, and no more than a row of
// the Node service are sealed under the new one, which alone opens them then.
// The command may be repeated, and changes nothing under a wrong secret.
func TestRekey(t *testing.T) {
	open, closed, row := newScene(t), newScene(t), newScene(t)
	all := []string{open.session, closed.session, row.session}
	c := open.connector("c")
	oldSecret, newSecret := envOf(c, "SESSION_ENCRYPTION_SECRET"), strings.Repeat("new-secret-", 4)
	for _, s := range []*scene{open, closed, row} {
		s.must(c.Pair(s.ctx, s.session, s.owner))
		s.talk(c)
		s.waitPushed(c)
	}
	closed.must(c.Close(closed.ctx, closed.session))
	row.must(c.Close(row.ctx, row.session))
	row.asNodeRow(row.database(), oldSecret, oldSecret)
	open.must(c.Stop(stopTime))

	both := []string{"SESSION_ENCRYPTION_SECRET=" + newSecret, "SESSION_ENCRYPTION_SECRET_PREVIOUS=" + oldSecret}
	c = open.connectorIn(c.ID(), c.DataDir(), both...)
	open.must(c.WaitState(open.ctx, open.session, "connected"))
	open.talk(c) // the log holds rows of both secrets
	open.waitPushed(c)
	open.rekeys(c, 1, "is not the one to rekey to", []string{"SESSION_ENCRYPTION_SECRET=" + strings.Repeat("x", 40)}, all...)
	open.rekeys(c, 1, "left under an old one: 3", []string{"SESSION_ENCRYPTION_SECRET=" + strings.Repeat("x", 40)}, all...)
	open.rekeys(c, 0, "sessions to be sealed anew: 3", both, append(all, "--dry-run")...)
	open.rekeys(c, 0, "sessions sealed anew: 1", both, closed.session) // and then it was cut short
	open.rekeys(c, 0, "sessions sealed anew: 2; under the current secret before: 1", both, all...)
	open.rekeys(c, 0, "under the current secret before: 3", both, all...)
	open.talk(c)
	open.waitPushed(c)
	open.must(c.Stop(stopTime))
	open.must(os.RemoveAll(c.DataDir()))

	fresh := open.connector("fresh", "SESSION_ENCRYPTION_SECRET="+newSecret)
	for s, start := range map[*scene]string{open: "exact", closed: "exact", row: "safe"} {
		opened, err := fresh.Open(s.ctx, s.session)
		s.must(err)
		if opened.Start != start {
			t.Errorf("%s: start is %q, want %q", s.session, opened.Start, start)
		}
		s.must(fresh.WaitState(s.ctx, s.session, "connected", "restored safely"))
		s.talk(fresh)
	}
	open.nothingLost(fresh)
}

// rekeys runs `connector rekey` with other secrets than c's.
func (s *scene) rekeys(c *rig.Connector, code int, says string, env []string, args ...string) {
	s.t.Helper()
	cmd := c.Command(s.ctx, append([]string{"rekey"}, args...)...)
	cmd.Env = append(cmd.Env, env...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != code || !strings.Contains(string(out), says) {
		s.t.Fatalf("rekey %v: %v\n%s", args, err, out)
	}
}
