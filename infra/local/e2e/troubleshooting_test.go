package e2e

import (
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloudsession/connector/control"
)

// One test per row of the specification's troubleshooting list.

// "Cloud sync fails but local session still works": the database is away, the
// session sends and receives, and everything is pushed once it is back.
func TestCloudSyncFailsButLocalSessionStillWorks(t *testing.T) {
	s := newScene(t)
	link, env := s.databaseLink()
	c := s.paired("c", env...)
	s.talk(c)
	link.cut()
	s.talk(c)
	s.talk(c)
	if mine := s.mine(c); !mine.Pending {
		t.Errorf("%+v: want changes waiting", mine)
	}
	link.mend()
	s.waitPushed(c)
	s.must(c.Kill9())
	s.must(os.RemoveAll(c.DataDir()))

	other := s.connector("other")
	s.restore()
	s.talk(other)
	s.nothingLost(other)
}

// "Session not restored from cloud": it isn't there yet, which is normal for a
// new one; after the first login it is.
func TestSessionNotRestoredFromCloud(t *testing.T) {
	s := newScene(t)
	c := s.connector("c")
	if body := s.call(http.StatusNotFound, http.MethodPost, "/restore"); !strings.Contains(body, "Session not found in cloud") {
		t.Errorf("restore of an unknown session answered %s", body)
	}
	if _, err := c.Open(s.ctx, s.session); err == nil || !strings.Contains(err.Error(), "no such session") {
		t.Errorf("open of an unknown session: %v", err)
	}
	s.must(c.Pair(s.ctx, s.session, s.owner))
	s.call(http.StatusOK, http.MethodGet, "/status")
	s.restore()
	s.talk(c)
}

// "SESSION_ENCRYPTION_SECRET not set".
func TestSecretNotSet(t *testing.T) {
	s := newScene(t)
	out := s.ends(78, "SESSION_ENCRYPTION_SECRET=")
	if !strings.Contains(out, "SESSION_ENCRYPTION_SECRET not set") {
		t.Errorf("connector run said:\n%s", out)
	}
}

// "Restored session says logged out": the phone unlinked the device; the answer
// says so, the copy is kept, and a new scan brings new credentials.
func TestRestoredSessionSaysLoggedOut(t *testing.T) {
	s := newScene(t)
	c := s.paired("c")
	s.talk(c)
	s.must(c.Stop(stopTime))
	for _, d := range s.owner.Devices() {
		s.must(s.owner.Unlink(s.ctx, d))
	}
	again := s.connectorIn(c.ID(), c.DataDir())
	s.must(again.WaitState(s.ctx, s.session, "logged_out"))
	resp, err := world.API(s.ctx, http.MethodPost, s.path("/restore"), nil)
	s.must(err)
	if resp.Status != http.StatusConflict || !strings.Contains(string(resp.Body), `"code":"logged_out"`) {
		t.Errorf("restore of an unlinked session: %d %s", resp.Status, resp.Body)
	}
	if body := s.call(http.StatusOK, http.MethodGet, "/status"); !strings.Contains(body, "logged_out") {
		t.Errorf("status of an unlinked session: %s", body)
	}
	s.must(again.Pair(s.ctx, s.session, s.owner))
	s.talk(again)
	s.nothingLost(again)
}

// ends runs `connector run` with variables that must make it end with an exit code,
// and returns what it said.
func (s *scene) ends(code int, env ...string) string {
	s.t.Helper()
	like := s.connector("like") // for the environment of one that works
	cmd := exec.CommandContext(s.ctx, world.Stack.ConnectorBinary(), "run")
	cmd.Env = append(append(like.Env(), "CONNECTOR_ID=refused", "DATA_DIR="+s.t.TempDir()), env...)
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != code {
		s.t.Errorf("connector run with %s: %v, want exit status %d", env, err, code)
	}
	return string(out)
}

// waitPushed waits until nothing of the session is pending.
func (s *scene) waitPushed(c *rigConnector) {
	s.t.Helper()
	for {
		if !s.mine(c).Pending {
			return
		}
		select {
		case <-s.ctx.Done():
			s.t.Fatal("the changes were never pushed")
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// mine is what the connector says of this scene's session.
func (s *scene) mine(c *rigConnector) control.Session {
	s.t.Helper()
	list, err := c.Sessions(s.ctx)
	s.must(err)
	for _, l := range list {
		if l.SessionID == s.session {
			return l
		}
	}
	s.t.Fatalf("the connector doesn't know the session: %+v", list)
	return control.Session{}
}

// damage overwrites the middle of every adopted session file in a data directory.
func damage(t *testing.T, dataDir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dataDir, "sessions", "*", "*.db"))
	if err != nil || len(files) == 0 {
		t.Fatalf("session files: %v, %v", files, err)
	}
	for _, f := range files {
		for _, side := range []string{"-wal", "-shm"} {
			if err := os.Remove(f + side); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
		}
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		junk := make([]byte, info.Size())
		for i := range junk {
			junk[i] = byte(i * 7)
		}
		if err := os.WriteFile(f, junk, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
