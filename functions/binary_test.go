package functions_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"cloudsession/functions/api"
	"cloudsession/functions/api/apitest"
	"cloudsession/infra/local/lambdaemu"
	"cloudsession/infra/local/tidbtest"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/devtoken"
)

const (
	jwtSecret  = "a secret of more than thirty-two bytes"
	largest    = 15 << 20        // bytes of a binary
	slowestRun = 2 * time.Minute // on a machine that may be busy
)

// bootstraps builds the functions as the Makefile does and returns their folder.
var bootstraps = sync.OnceValues(func() (string, error) {
	dir, err := filepath.Abs(filepath.Join("..", ".build", "functions-test"))
	if err != nil {
		return "", err
	}
	for _, name := range names() {
		cmd := exec.Command("go", "build", "-tags", "lambda.norpc", "-trimpath", "-ldflags", "-s -w",
			"-o", filepath.Join(dir, name, "bootstrap"), "cloudsession/functions/"+name)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", errors.Join(err, errors.New(string(out)))
		}
	}
	return dir, nil
})

// watcher is the one function without a route, and its event's name is watch.
const watcher = "watch-connectors"

// names are those of all functions.
func names() []string {
	all := []string{watcher}
	for _, r := range api.Routes() {
		all = append(all, r.Name)
	}
	return all
}

func bootstrap(t *testing.T, name string) string {
	t.Helper()
	dir, err := bootstraps()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name, "bootstrap")
}

// environment is what template.yaml gives a function.
func environment(c cloudstore.Config) []string {
	return []string{
		"TIDB_HOST=" + c.Host, "TIDB_PORT=" + strconv.Itoa(c.Port), "TIDB_USER=" + c.User, "TIDB_PASSWORD=" + c.Password,
		"TIDB_DATABASE=" + c.Database, "TIDB_TLS=" + string(c.TLS), "JWT_SECRET=" + jwtSecret,
		"AWS_ENDPOINT_URL_SQS=http://127.0.0.1:1", "COMMAND_WAIT=1s", "DEPLOYMENT=prod",
	}
}

func hostOf(t *testing.T, env []string) *lambdaemu.Host {
	t.Helper()
	return hostTo(t, env, nil)
}

// hostTo is hostOf with the functions' log, which is whole once the host is closed.
func hostTo(t *testing.T, env []string, log io.Writer) *lambdaemu.Host {
	t.Helper()
	var all []lambdaemu.Function
	for _, name := range names() {
		all = append(all, lambdaemu.Function{Name: name, Binary: bootstrap(t, name), Env: env})
	}
	host, err := lambdaemu.New(lambdaemu.Options{Functions: all, Timeout: slowestRun, InitTimeout: 2 * time.Minute, Out: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(host.Close)
	return host
}

// readEvent fills the tokens into one of the events in infra/events.
func readEvent(t *testing.T, name string) ([]byte, events.APIGatewayV2HTTPRequest) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "infra", "events", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	for hole, scopes := range map[string][]string{
		"${TOKEN}": {devtoken.ScopeRead, devtoken.ScopeWrite}, "${READ_TOKEN}": {devtoken.ScopeRead},
	} {
		token, err := devtoken.Mint([]byte(jwtSecret), "tester", scopes, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		raw = bytes.ReplaceAll(raw, []byte(hole), []byte(token))
	}
	var e events.APIGatewayV2HTTPRequest
	if err := json.Unmarshal(raw, &e); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return raw, e
}

// functionOf finds the function of an event by its route, as the gateway does.
func functionOf(t *testing.T, e events.APIGatewayV2HTTPRequest) string {
	t.Helper()
	method, path, _ := strings.Cut(e.RouteKey, " ")
	for _, r := range api.Routes() {
		if r.Path == path && (method == r.Method || method == "ANY") {
			return r.Name
		}
	}
	t.Fatalf("event has route %q", e.RouteKey)
	return ""
}

// invoke is invokeOnce, repeated while the database is too slow for the API.
func invoke(t *testing.T, host *lambdaemu.Host, name string) (res events.APIGatewayV2HTTPResponse) {
	t.Helper()
	patiently(func() int {
		res = invokeOnce(t, host, name)
		return res.StatusCode
	})
	return res
}

// invokeOnce runs an event through its function's binary and checks the response
// against openapi.yaml.
func invokeOnce(t *testing.T, host *lambdaemu.Host, name string) events.APIGatewayV2HTTPResponse {
	t.Helper()
	raw, e := readEvent(t, name)
	ctx, cancel := context.WithTimeout(t.Context(), slowestRun)
	defer cancel()
	result, err := host.Invoke(ctx, functionOf(t, e), raw)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	var res events.APIGatewayV2HTTPResponse
	if err := json.Unmarshal(result.Payload, &res); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	header := http.Header{}
	for k, v := range res.Headers {
		header.Set(k, v)
	}
	req, err := http.NewRequestWithContext(ctx, e.RequestContext.HTTP.Method, "http://x/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.URL.Path = e.RawPath
	checker, err := apitest.New()
	if err != nil {
		t.Fatal(err)
	}
	if err := checker.Check(req, res.StatusCode, header, []byte(res.Body)); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	return res
}

// answers says how each event in infra/events is answered by a database with
// one session, personal, that no connector holds.
var answers = map[string]struct {
	status int
	body   string // a part of it
}{
	"list":            {200, `{"sessions":[{"session_id":"personal","last_synced_at":null,"created_at":"`},
	"list-page":       {200, `{"sessions":[{"session_id":"personal"`},
	"status":          {200, `{"sessionId":"personal","lastSynced":null,"createdAt":"`},
	"sync":            {409, `"session_not_open"`},
	"restore":         {409, `"no_live_connector"`},
	"restore-to":      {409, `"connector_not_live"`},
	"command":         {404, `"command_not_found"`},
	"no-token":        {401, `"unauthorized"`},
	"bad-token":       {401, `"unauthorized"`},
	"read-only-token": {403, `"insufficient_scope"`},
	"unknown-session": {404, `"error":"Session not found in cloud"`},
	"unicode-session": {404, `"session_not_found"`},
	"sync-unknown":    {404, `"error":"Session not found"`},
	"delete-unknown":  {404, `"error":"Session not found in cloud"`},
	"long-session-id": {400, `"invalid_session_id"`},
	"bad-limit":       {400, `"invalid_limit"`},
	"bad-cursor":      {400, `"invalid_cursor"`},
	"bad-body":        {400, `"conector\"`},
	"wrong-type":      {415, `"unsupported_media_type"`},
	"huge-body":       {413, `"body_too_large"`},
	"wrong-method":    {405, `"method_not_allowed"`},
	"unknown-command": {404, `"command_not_found"`},
	"bad-command-id":  {400, `"invalid_command_id"`},
	"delete":          {200, `{"status":"deleted from cloud","sessionId":"personal"}`},
}

// TestEvents runs every event through the compiled function, over a real database.
func TestEvents(t *testing.T) {
	config, _ := seeded(t, "personal")
	host := hostOf(t, environment(config))
	files, err := filepath.Glob(filepath.Join("..", "infra", "events", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d events, %v", len(files), err)
	}
	var names []string
	for _, f := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(f), ".json"))
	}
	names = slices.DeleteFunc(names, func(n string) bool { return n == "watch" }) // TestWatch runs it
	slices.Sort(names)
	if want := slices.Sorted(maps.Keys(answers)); !slices.Equal(names, want) {
		t.Fatalf("events %s\nanswers %s", names, want)
	}
	names = append(slices.DeleteFunc(names, func(n string) bool { return n == "delete" }), "delete")
	for _, name := range names {
		res := invoke(t, host, name)
		if want := answers[name]; res.StatusCode != want.status || !strings.Contains(res.Body, want.body) {
			t.Errorf("%s: %d %s, want %d %s", name, res.StatusCode, res.Body, want.status, want.body)
		}
	}
}

// TestEventsCover: each route has its event, and so has each error that a caller
// can be told of; 429 is the gateway's own, or takes a hundred commands. Each event
// is as the gateway makes it, and README.md says what becomes of it.
func TestEventsCover(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join("..", "infra", "events", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	served, told := map[string]bool{}, map[int]bool{}
	for name, answer := range answers {
		_, e := readEvent(t, name)
		served[e.RouteKey], told[answer.status] = true, true
		checkShape(t, name, e)
		// SyncSession is built from sync-session.
		function := regexp.MustCompile(`(?:^|-)[a-z]`).ReplaceAllStringFunc(functionOf(t, e), func(s string) string {
			return strings.ToUpper(strings.TrimPrefix(s, "-"))
		})
		if line := fmt.Sprintf("| `%s.json` | %s | %d |\n", name, function, answer.status); !strings.Contains(string(readme), line) {
			t.Errorf("infra/events/README.md lacks %s", line)
		}
	}
	checker, err := apitest.New()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range api.Routes() {
		if key := r.Method + " " + r.Path; !served[key] {
			t.Errorf("no event for %s", key)
		}
		for status := range checker.Doc().Paths.Value(r.Path).GetOperation(r.Method).Responses.Map() {
			n, err := strconv.Atoi(status)
			if err != nil {
				t.Fatal(err)
			}
			if n >= 400 && n < 500 && n != http.StatusTooManyRequests && !told[n] {
				t.Errorf("no event is answered %d", n)
			}
		}
	}
}

// checkShape: what an event says twice is the same.
func checkShape(t *testing.T, name string, e events.APIGatewayV2HTTPRequest) {
	t.Helper()
	c := e.RequestContext
	method, path, _ := strings.Cut(e.RouteKey, " ")
	for param, value := range e.PathParameters {
		path = strings.ReplaceAll(path, "{"+param+"}", value)
	}
	if e.Version != "2.0" || c.RouteKey != e.RouteKey || c.RequestID != name+"-1" || e.RawPath != path || c.HTTP.Path != path {
		t.Errorf("%s: version %q, route %q and %q, path %q and %q, request %q", name, e.Version, e.RouteKey, c.RouteKey, e.RawPath, c.HTTP.Path, c.RequestID)
	}
	if method != "ANY" && method != c.HTTP.Method {
		t.Errorf("%s: method %s at %s", name, c.HTTP.Method, e.RouteKey)
	}
	query := url.Values{}
	for k, v := range e.QueryStringParameters {
		query.Set(k, v)
	}
	if query.Encode() != e.RawQueryString {
		t.Errorf("%s: query %q and %q", name, e.RawQueryString, query.Encode())
	}
	if n, ok := e.Headers["content-length"]; ok && n != strconv.Itoa(len(e.Body)) {
		t.Errorf("%s: %s bytes, has %d", name, n, len(e.Body))
	}
}

// TestDatabaseDown: functions start without a database and say so, request by request.
func TestDatabaseDown(t *testing.T) {
	host := hostOf(t, environment(cloudstore.Config{Host: "127.0.0.1", Port: 1, User: "u", Database: "d", TLS: cloudstore.TLSOff}))
	for _, name := range []string{"list", "status", "sync", "restore", "delete", "command"} {
		res := invokeOnce(t, host, name)
		if res.StatusCode != 503 || res.Body != `{"error":"The database cannot be reached: try again","code":"unavailable"}` {
			t.Errorf("%s: %d %s", name, res.StatusCode, res.Body)
		}
	}
	if res := invoke(t, host, "no-token"); res.StatusCode != 401 {
		t.Errorf("no token: %d", res.StatusCode)
	}
}

// TestBinaries: small enough, and all mistakes in the configuration at once.
func TestBinaries(t *testing.T) {
	for _, name := range names() {
		file := bootstrap(t, name)
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > largest {
			t.Errorf("%s has %d bytes", name, info.Size())
		}
		cmd := exec.CommandContext(t.Context(), file)
		cmd.Env = []string{"TIDB_PORT=none", "JWT_SECRET=short-secret"}
		out, err := cmd.CombinedOutput()
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 {
			t.Errorf("%s without configuration: %v", name, err)
		}
		want := []string{"TIDB_HOST", "TIDB_USER", "TIDB_DATABASE", "Port"}
		switch name {
		case watcher:
			want = append(want, "DEPLOYMENT")
		case "sync-session", "restore-session":
			want = append(want, "AWS_REGION", "shorter than 32 bytes")
		default:
			want = append(want, "shorter than 32 bytes")
		}
		for _, w := range want {
			if !strings.Contains(string(out), w) {
				t.Errorf("%s does not name %s:\n%s", name, w, out)
			}
		}
		if strings.Contains(string(out), "short-secret") {
			t.Errorf("%s quotes a secret", name)
		}
	}
}

// seeded makes a database with sessions as the Node service leaves them.
func seeded(t *testing.T, ids ...string) (cloudstore.Config, *cloudstore.Store) {
	t.Helper()
	config := tidbtest.Start(t)
	store, err := cloudstore.Open(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		insert(t, config, id)
	}
	return config, store
}
