package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"cloudsession/functions/api/apitest"
	"cloudsession/infra/local/leaktest"
	"cloudsession/infra/local/stack"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// response runs the program and reads what it prints, again while the function says
// that the database keeps it waiting.
func response(t *testing.T, getenv func(string) string, function, event string) (status int, body string) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		status, body = invoked(t, getenv, function, event)
		if status != http.StatusServiceUnavailable || time.Now().After(deadline) {
			return status, body
		}
	}
}

func invoked(t *testing.T, getenv func(string) string, function, event string) (status int, body string) {
	t.Helper()
	root, err := stack.Root()
	if err != nil {
		t.Fatal(err)
	}
	var out, log bytes.Buffer
	path := filepath.Join(root, "infra", "events", event)
	if err := run(t.Context(), []string{function, path}, getenv, &out, &log); err != nil {
		t.Fatalf("invoke %s with %s: %v\n%s", function, event, err, &log)
	}
	if !strings.Contains(log.String(), "response after") {
		t.Errorf("it says nothing of its time: %s", &log)
	}
	var r events.APIGatewayV2HTTPResponse
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("%v: %s", err, &out)
	}
	described(t, path, r)
	return r.StatusCode, strings.TrimSpace(r.Body)
}

// described checks that openapi.yaml describes the response to an event.
func described(t *testing.T, path string, r events.APIGatewayV2HTTPResponse) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var e events.APIGatewayV2HTTPRequest
	if err := json.Unmarshal(text, &e); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	req, err := http.NewRequestWithContext(t.Context(), e.RequestContext.HTTP.Method, "http://"+e.RequestContext.DomainName+e.RawPath, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	header := http.Header{}
	for name, value := range r.Headers {
		header.Set(name, value)
	}
	for name, values := range r.MultiValueHeaders {
		header[http.CanonicalHeaderKey(name)] = values
	}
	checker, err := apitest.New()
	if err != nil {
		t.Fatal(err)
	}
	if err := checker.Check(req, r.StatusCode, header, []byte(r.Body)); err != nil {
		t.Error(err)
	}
}

func TestInvoke(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "invoke") //nolint:usetesting // t.TempDir's path is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	}()
	s, err := stack.Start(t.Context(), stack.Options{Dir: dir, Out: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	env := map[string]string{"DATA": dir}
	getenv := func(name string) string { return env[name] }

	list := filepath.Join("..", "..", "..", "events", "list.json")
	if err := run(t.Context(), []string{"list-sessions", list}, getenv, io.Discard, io.Discard); !errors.Is(err, stack.ErrNotRunning) {
		t.Errorf("with nothing running: %v, want ErrNotRunning", err)
	}

	c, err := s.StartConnector(t.Context(), stack.ConnectorOptions{ID: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.NoteRun(c); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		function, event string
		status          int
		body            string // its beginning
	}{
		{"list-sessions", "list.json", 200, `{"sessions":[]}`},
		{"session-status", "status.json", 404, `{"error":`},
		{"list-sessions", "no-token.json", 401, `{"error":`},
		{"delete-session", "read-only-token.json", 403, `{"error":`},
	} {
		if status, body := response(t, getenv, c.function, c.event); status != c.status || !strings.HasPrefix(body, c.body) {
			t.Errorf("%s with %s: %d %s, want %d %s…", c.function, c.event, status, body, c.status, c.body)
		}
	}

	// The one that answers nobody: what it found is in its log.
	env["DEPLOYMENT"] = "local"
	var out, log bytes.Buffer
	watch := filepath.Join("..", "..", "..", "events", "watch.json")
	if err := run(t.Context(), []string{"watch-connectors", watch}, getenv, &out, &log); err != nil || out.String() != "null\n" {
		t.Errorf("watch: %v, %q", err, &out)
	}
	if !strings.Contains(log.String(), `"LiveConnectors":1`) {
		t.Errorf("watch logged %s", &log)
	}
	delete(env, "DEPLOYMENT")

	// A database of the environment, and a token secret made up for the call.
	for _, v := range stack.FunctionEnv(func(name string) string { return runningEnv(t, dir)[name] }) {
		name, value, _ := strings.Cut(v, "=")
		env[name] = value
	}
	env["DATA"], env["JWT_SECRET"] = "/does/not/exist", ""
	if status, body := response(t, getenv, "list-sessions", "list.json"); status != 200 || body != `{"sessions":[]}` {
		t.Errorf("with TIDB_HOST: %d %s", status, body)
	}
}

func runningEnv(t *testing.T, dir string) map[string]string {
	t.Helper()
	e, err := stack.Running(dir)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestMistakes(t *testing.T) {
	if err := stack.BuildPrograms(t.Context()); err != nil {
		t.Fatal(err)
	}
	notJSON := filepath.Join(t.TempDir(), "event.json")
	if err := os.WriteFile(notJSON, []byte("Bearer ${TOKEN}"), 0o600); err != nil {
		t.Fatal(err)
	}
	getenv := func(name string) string { return map[string]string{"TIDB_HOST": "127.0.0.1"}[name] }
	for _, c := range []struct {
		want string
		args []string
	}{
		{"usage", nil},
		{"usage", []string{"list-sessions"}},
		{"not built", []string{"no-such-function", notJSON}},
		{"no such file", []string{"list-sessions", "/does/not/exist.json"}},
		{"not JSON", []string{"list-sessions", notJSON}},
	} {
		if err := run(t.Context(), c.args, getenv, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.args, err, c.want)
		}
	}
}
