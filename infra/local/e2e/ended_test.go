package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"cloudsession/connector/control"
	"cloudsession/infra/local/rig"
)

// What the application has not taken of a session that the phone unlinks is
// delivered all the same, whatever becomes of the machine that had acknowledged it.
func TestRestOfAnEndedSession(t *testing.T) {
	for name, test := range map[string]func(*testing.T){
		"killed while it ended": restAfterKill,
		"machine lost":          restAfterLoss,
		"linked again":          restAndLinkedAgain,
		"linked again later":    restAndLinkedAgainElsewhere,
		"opened by name":        restOpenedByName,
		"contested":             restOfContested,
		"closed by hand":        restClosed,
		"closed at once":        restClosedAtOnce,
		"moved out":             restOfMovedOut,
		"replaced":              restOfReplaced,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t)
		})
	}
}

const (
	ended    = "wanted = 'closed' AND connector_id IS NULL AND state = 'logged_out'"
	restLeft = "wanted = 'rest' AND state = 'logged_out'"
)

// withRest is a session that has ended while the application took nothing of it.
func withRest(t *testing.T) (s *scene, app *rig.Webhook, c *rigConnector, texts []string) {
	s, app, c, texts = withUntaken(t)
	s.must(s.owner.Unlink(s.ctx, s.device()))
	s.waitLog(c, "log sealed")
	return s, app, c, texts
}

// withUntaken is a session with messages that are durable, and acknowledged, and
// that the application has not taken.
func withUntaken(t *testing.T) (s *scene, app *rig.Webhook, c *rigConnector, texts []string) {
	s = newScene(t)
	s.ownDatabase()
	app = s.application()
	c = s.paired("c", app.Env()...)
	s.talk(c)
	app.Answer(http.StatusServiceUnavailable)
	texts = s.writes(s.peer, "peer", 1, 3)
	s.waitAcknowledged()
	s.waitPushed(c)
	return s, app, c, texts
}

// The process dies when the owner row says that the session has ended, and before
// anything else is done about it.
func restAfterKill(t *testing.T) {
	s, app, c, texts := withUntaken(t)
	s.must(c.Kill9())
	s.update("UPDATE session_owners SET wanted = 'closed', state = 'logged_out' WHERE session_id = ?", s.session)
	s.connectorIn(c.ID(), c.DataDir(), app.Env()...)
	app.Answer(0)
	s.must(app.WaitTexts(s.ctx, texts...))
	s.waitOwner(ended)
}

// Nothing is left of the machine: another one delivers what is in TiDB.
func restAfterLoss(t *testing.T) {
	s, app, c, texts := withUntaken(t)
	device := s.device()
	s.must(s.owner.Unlink(s.ctx, device))
	s.waitLog(c, "log sealed")
	s.must(c.Kill9())
	s.must(os.RemoveAll(c.DataDir()))
	logins := world.WhatsApp.Device(device).Logins
	other := s.connector("other", app.Env()...)
	s.must(other.WaitState(s.ctx, s.session, "logged_out"))
	if _, err := other.Send(s.ctx, s.session, control.SendRequest{To: s.peer.PN().String(), Text: "no"}); err == nil {
		t.Error("a session that has ended takes a text to send")
	}
	app.Answer(0)
	s.must(app.WaitTexts(s.ctx, texts...))
	s.waitOwner(ended)
	if n := world.WhatsApp.Device(device).Logins; n != logins {
		t.Errorf("%d logins of a session that has ended", n-logins)
	}
}

// Linked again under its id, the session begins anew; the rest of the old one is
// delivered from its file.
func restAndLinkedAgain(t *testing.T) {
	s, app, c, texts := withRest(t)
	s.waitOwner(restLeft)
	s.must(c.Pair(s.ctx, s.session, s.owner))
	app.Answer(0)
	s.must(app.WaitTexts(s.ctx, texts...))
	s.talk(c)
	s.nothingLost(c)
}

// The same on a machine that never had the session: it fetches the rest first.
func restAndLinkedAgainElsewhere(t *testing.T) {
	s, app, c, texts := withRest(t)
	s.must(c.Stop(stopTime))
	s.waitOwner(restLeft)
	other := s.connector("other", app.Env()...)
	s.must(other.Pair(s.ctx, s.session, s.owner))
	app.Answer(0)
	s.must(app.WaitTexts(s.ctx, texts...))
	s.talk(other)
	s.nothingLost(other)
}

// Who closes it gives its place free; the rest is delivered from its file.
func restClosed(t *testing.T) {
	s, app, c, texts := withRest(t)
	s.waitLog(c, "it is held to deliver")
	s.closesRest(app, c, texts)
}

// Whenever that is, before the rest is held as well.
func restClosedAtOnce(t *testing.T) {
	s, app, c, texts := withRest(t)
	s.closesRest(app, c, texts)
}

func (s *scene) closesRest(app *rig.Webhook, c *rigConnector, texts []string) {
	s.t.Helper()
	s.must(c.Close(s.ctx, s.session))
	s.waitOwner(ended)
	app.Answer(0)
	s.must(app.WaitTexts(s.ctx, texts...))
}

// A session that was moved out to another program owes its application what came
// before.
func restOfMovedOut(t *testing.T) {
	s, app, c, texts := withUntaken(t)
	s.cli(c, 0, "is in", "export", "whatsmeow", "--session", s.session, "--out", filepath.Join(t.TempDir(), "out.db"))
	app.Answer(0)
	s.must(app.WaitTexts(s.ctx, texts...))
}

// So does one whose state is replaced by an older one.
func restOfReplaced(t *testing.T) {
	s := newScene(t)
	s.ownDatabase()
	app := s.application()
	c := s.paired("c", app.Env()...)
	s.talk(c)
	file := filepath.Join(t.TempDir(), "out.db")
	s.cli(c, 0, "is in", "export", "whatsmeow", "--session", s.session, "--out", file)
	s.cli(c, 0, "is here", "import", "whatsmeow", file, "--session", s.session, "--replace", "--stopped-cleanly")
	app.Answer(http.StatusServiceUnavailable)
	texts := s.writes(s.peer, "peer", 1, 3)
	s.waitAcknowledged()
	s.waitPushed(c)
	s.cli(c, 0, "is here", "import", "whatsmeow", file, "--session", s.session, "--replace")
	app.Answer(0)
	s.must(app.WaitTexts(s.ctx, texts...))
}

// Who opens the session by name has it log in; the phone's answer is the same, and
// the rest stays to be delivered.
func restOpenedByName(t *testing.T) {
	s, app, c, texts := withRest(t)
	s.waitLog(c, "it is held to deliver")
	before := s.mine(c).Epoch
	_, err := c.Open(s.ctx, s.session)
	s.must(err)
	s.wait("the session to end again", func() bool { m := s.mine(c); return m.Epoch > before+1 && m.State == "logged_out" })
	app.Answer(0)
	s.must(app.WaitTexts(s.ctx, texts...))
	s.waitOwner(ended)
}

// A fight over the keys that was given up doesn't begin anew for the rest's sake.
func restOfContested(t *testing.T) {
	s, app, c, texts := withUntaken(t)
	s.contend(c)
	logins := world.WhatsApp.Device(s.device()).Logins
	s.waitOwner("wanted = 'rest' AND state = 'contested'")
	app.Answer(0)
	s.must(app.WaitTexts(s.ctx, texts...))
	s.waitOwner("wanted = 'closed' AND connector_id IS NULL AND state = 'contested'")
	if n := world.WhatsApp.Device(s.device()).Logins; n != logins {
		t.Errorf("%d logins", n-logins)
	}
	_, err := c.Open(s.ctx, s.session)
	s.must(err)
	s.startsSafely(c)
}
