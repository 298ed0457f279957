package stack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudsession/functions/api/apitest"
	"cloudsession/shared/devtoken"
)

// shortDir is a data folder whose sockets' paths are short enough everywhere.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "stack") //nolint:usetesting // t.TempDir's path is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func start(t *testing.T, o Options) *Stack {
	t.Helper()
	s, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// get asks the API and returns status and body.
func get(t *testing.T, s *Stack, path, token string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.APIURL()+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Close = true
	checker, err := apitest.New()
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: checker.Transport(nil)}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// TestStack is the life of a stack: the API answers, connectors start, freeze,
// crash and stop, the folder is held, and a second start finds everything again.
func TestStack(t *testing.T) {
	dir := shortDir(t)
	s := start(t, Options{Dir: dir, Out: t.Output()})

	token, err := s.Token(devtoken.ScopeRead)
	if err != nil {
		t.Fatal(err)
	}
	if status, body := get(t, s, "/cloud/sessions", token); status != http.StatusOK || strings.TrimSpace(body) != `{"sessions":[]}` {
		t.Errorf("sessions: %d %s", status, body)
	}
	if status, body := get(t, s, "/cloud/sessions", "nonsense"); status != http.StatusUnauthorized {
		t.Errorf("sessions with a bad token: %d %s", status, body)
	}

	if _, err := Start(t.Context(), Options{Dir: dir}); !errors.Is(err, ErrInUse) {
		t.Errorf("second stack on the folder: %v, want ErrInUse", err)
	}

	var log bytes.Buffer
	c, err := s.StartConnector(t.Context(), ConnectorOptions{ID: "a", Out: &log})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.NoteRun(c); err != nil {
		t.Fatal(err)
	}
	frozen(t, c)
	if err := c.Kill9(); err != nil {
		t.Error(err)
	}
	if err := c.Wait(t.Context()); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("a killed connector ended with %v", err)
	}
	if c.Logs() == "" || log.String() != c.Logs() {
		t.Errorf("the connector's log is %q, its copy %q", c.Logs(), &log)
	}

	b, err := s.StartConnector(t.Context(), ConnectorOptions{ID: "b"})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Stop(StopTime); err != nil {
		t.Error(err)
	}
	before := s.secrets
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	private(t, dir)
	if _, err := os.Stat(filepath.Join(dir, runFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is there after the stack's end: %v", runFile, err)
	}

	again := start(t, Options{Dir: dir, Out: t.Output()})
	if diff := cmp.Diff(before, again.secrets); diff != "" {
		t.Error("secrets changed between starts")
	}
	if status, body := get(t, again, "/cloud/sessions", token); status != http.StatusOK {
		t.Errorf("sessions after a second start, with the first one's token: %d %s", status, body)
	}
}

// frozen checks that a frozen connector does not answer and a thawed one does.
func frozen(t *testing.T, c *Connector) {
	t.Helper()
	if err := c.Freeze(); err != nil {
		t.Fatal(err)
	}
	// The signal may come a moment after an answer that was under way.
	silent := func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		return c.Control().Health(ctx) != nil
	}
	for deadline := time.Now().Add(2 * time.Minute); !silent(); {
		if time.Now().After(deadline) {
			t.Fatal("a frozen connector answers")
		}
	}
	if err := c.Thaw(); err != nil {
		t.Fatal(err)
	}
	if err := c.Control().Health(t.Context()); err != nil {
		t.Errorf("a thawed connector does not answer: %v", err)
	}
}

// private checks that nothing in the folder is readable by others: the files are
// 0600, or in a folder that is 0700.
func private(t *testing.T, dir string) {
	t.Helper()
	for name, want := range map[string]os.FileMode{".": 0o700, secretsFile: 0o600, "stack.lock": 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want %v", name, info, err, want)
		}
	}
}

// TestDatabaseOutage: the database goes and comes back with its address and data.
func TestDatabaseOutage(t *testing.T) {
	s := start(t, Options{Dir: shortDir(t), Out: t.Output()})
	token, err := s.Token()
	if err != nil {
		t.Fatal(err)
	}
	for name, stop := range map[string]func() error{"stopped": s.StopDatabase, "killed": s.KillDatabase} {
		ended := s.DatabaseEnded()
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		<-ended
		status, body := get(t, s, "/cloud/sessions", token)
		var answer struct{ Error, Code string }
		if err := json.Unmarshal([]byte(body), &answer); err != nil || status != http.StatusServiceUnavailable || answer.Code == "" {
			t.Errorf("sessions while the database is %s: %d %s", name, status, body)
		}
		if err := s.StartDatabase(t.Context()); err != nil {
			t.Fatal(err)
		}
		status, body = get(t, s, "/cloud/sessions", token)
		for deadline := time.Now().Add(2 * time.Minute); status >= http.StatusInternalServerError && time.Now().Before(deadline); {
			status, body = get(t, s, "/cloud/sessions", token)
		}
		if status != http.StatusOK {
			t.Errorf("sessions after the database was %s: %d %s", name, status, body)
		}
	}
}

// TestConnectorThatCannotStart: the error holds what the connector said.
func TestConnectorThatCannotStart(t *testing.T) {
	s := start(t, Options{Dir: shortDir(t)})
	_, err := s.StartConnector(t.Context(), ConnectorOptions{ID: "a", Env: []string{"SESSION_ENCRYPTION_SECRET="}})
	if err == nil || !strings.Contains(err.Error(), "SESSION_ENCRYPTION_SECRET not set") {
		t.Errorf("a connector without the secret: %v", err)
	}
	_, err = s.StartConnector(t.Context(), ConnectorOptions{ID: strings.Repeat("long", 30)})
	if err == nil || !strings.Contains(err.Error(), "socket") {
		t.Errorf("a connector with a long path: %v", err)
	}
}

func TestBusyPort(t *testing.T) {
	s := start(t, Options{Dir: shortDir(t)})
	_, err := Start(t.Context(), Options{Dir: shortDir(t), APIAddr: strings.TrimPrefix(s.APIURL(), "http://")})
	if err == nil || !strings.Contains(err.Error(), "PORT") || errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a second API on the port: %v", err)
	}
}

// TestDatabaseAndQueueOfOthers: a stack uses what the environment names, and
// leaves it running.
func TestDatabaseAndQueueOfOthers(t *testing.T) {
	first := start(t, Options{Dir: shortDir(t)})
	given := environment{"AWS_ENDPOINT_URL_SQS": first.SQSEndpoint(), "AWS_REGION": "us-east-1"}.merge(first.db.environment())
	s := start(t, Options{Dir: shortDir(t), Getenv: func(name string) string { return given[name] }})
	if s.Queue() != nil || s.SQSEndpoint() != first.SQSEndpoint() || s.StoreConfig() != first.StoreConfig() {
		t.Errorf("the stack uses %s and %s:%d", s.SQSEndpoint(), s.StoreConfig().Host, s.StoreConfig().Port)
	}
	if err := s.StopDatabase(); err == nil {
		t.Error("stopped somebody else's database")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	token, err := first.Token()
	if err != nil {
		t.Fatal(err)
	}
	if status, body := get(t, first, "/cloud/sessions", token); status != http.StatusOK {
		t.Errorf("the first stack's sessions afterwards: %d %s", status, body)
	}
	given["TIDB_USER"] = ""
	if _, err := Start(t.Context(), Options{Dir: shortDir(t), Getenv: func(name string) string { return given[name] }}); err == nil || !strings.Contains(err.Error(), "TIDB_USER") {
		t.Errorf("TIDB_HOST without TIDB_USER: %v", err)
	}
}
