package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"
)

// The three use cases of the specification.

// A session paired on the laptop is opened by the server, with no QR code, and
// the laptop lets go of it.
func TestMultiDeviceAccess(t *testing.T) {
	s := newScene(t)
	laptop := s.paired("laptop")
	s.talk(laptop)
	s.must(laptop.Stop(stopTime))

	server := s.connector("server")
	opened, err := server.Open(s.ctx, s.session)
	s.must(err)
	if opened.Start != "exact" {
		t.Errorf("start after a clean stop is %q, want exact", opened.Start)
	}
	s.must(server.WaitState(s.ctx, s.session, "connected"))
	before := world.WhatsApp.Counters().RetryReceipts
	s.talk(server)
	if n := world.WhatsApp.Counters().RetryReceipts; n != before {
		t.Errorf("%d messages needed a retry after an exact start", n-before)
	}
	if strings.Contains(server.Logs(), "session paired") {
		t.Error("the server paired the session again")
	}
	s.waitLog(server, "✓ Session "+s.session+" loaded from cloud")
	s.nothingLost(server)
}

// The old server is gone with its disk; POST restore brings the session to the new
// one. Creating a session with the same id there does, too:
// TestCreatingASessionLoadsIt.
func TestDeviceMigration(t *testing.T) {
	s := newScene(t)
	old := s.paired("old")
	s.talk(old)
	s.call(http.StatusOK, http.MethodPost, "/sync")
	s.must(old.Kill9())
	s.must(os.RemoveAll(old.DataDir()))
	meantime := s.peerWrites()

	fresh := s.connector("new")
	s.restore()
	if _, err := fresh.WaitText(s.ctx, s.session, meantime); err != nil {
		t.Fatal(err)
	}
	s.talk(fresh)
	s.must(fresh.WaitState(s.ctx, s.session, "connected"))
	s.nothingLost(fresh)
}

// The session file is damaged; POST restore brings the session back on the
// same machine.
func TestBackupAndRecovery(t *testing.T) {
	s := newScene(t)
	c := s.paired("server")
	s.talk(c)
	body := s.call(http.StatusOK, http.MethodPost, "/sync")
	want := `{"status":"synced to cloud","sessionId":` + quote(t, s.session) + `}`
	if strings.TrimSpace(body) != want {
		t.Errorf("sync answered %s, want %s", body, want)
	}
	s.waitLog(c, "☁️ Session "+s.session+" synced to cloud")
	s.must(c.Kill9())
	damage(t, c.DataDir())

	again := s.connectorIn(c.ID(), c.DataDir())
	body = s.restore()
	want = `{"status":"restored from cloud","sessionId":` + quote(t, s.session) + `}`
	if strings.TrimSpace(body) != want {
		t.Errorf("restore answered %s, want %s", body, want)
	}
	s.talk(again)
	s.nothingLost(again)
}

func quote(t *testing.T, s string) string {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
