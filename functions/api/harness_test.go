package api_test

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"cloudsession/functions/api"
	"cloudsession/functions/api/apitest"
	"cloudsession/shared/devtoken"
)

const testSecret = "a secret of more than thirty-two bytes"

// world is an API over fakes.
type world struct {
	*fakeCloud
	t     *testing.T
	queue *fakeQueue
	api   *api.Handler
	log   *bytes.Buffer // of the API; read it only when no request runs
}

func newWorld(t *testing.T, change ...func(*api.Options)) *world {
	t.Helper()
	w := &world{t: t, fakeCloud: newFakeCloud(), queue: &fakeQueue{}, log: &bytes.Buffer{}}
	auth, err := api.NewAuth(api.AuthConfig{Secret: []byte(testSecret)})
	if err != nil {
		t.Fatal(err)
	}
	o := api.Options{
		Sessions: w.fakeCloud, Commands: w.fakeCloud, Queue: w.queue, Auth: auth,
		Log: slog.New(slog.NewTextHandler(w.log, nil)),
	}
	for _, fn := range change {
		fn(&o)
	}
	if w.api, err = api.New(o); err != nil {
		t.Fatal(err)
	}
	return w
}

// checker holds openapi.yaml; every answer in these tests is checked against it.
var checker = sync.OnceValues(apitest.New)

func checkAnswer(t *testing.T, r *http.Request, a answer) {
	t.Helper()
	c, err := checker()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Check(r, a.status, a.header, []byte(a.body)); err != nil {
		t.Error(err)
	}
}

// answer is a whole response.
type answer struct {
	status int
	header http.Header
	body   string
}

// do sends a request with a token for everything and checks the response
// against the description of the API.
func (w *world) do(method, target string, body ...string) answer {
	w.t.Helper()
	return w.send(w.request(method, target, body...))
}

func (w *world) request(method, target string, body ...string) *http.Request {
	w.t.Helper()
	var b io.Reader
	if len(body) > 0 {
		b = strings.NewReader(body[0])
	}
	r := httptest.NewRequestWithContext(w.t.Context(), method, target, b)
	if len(body) > 0 {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Authorization", "Bearer "+mint(w.t, api.ScopeRead, api.ScopeWrite))
	return r
}

func (w *world) send(r *http.Request) answer {
	w.t.Helper()
	rec := httptest.NewRecorder()
	w.api.ServeHTTP(rec, r)
	a := answer{rec.Code, rec.Header(), rec.Body.String()}
	checkAnswer(w.t, r, a)
	return a
}

func mint(t *testing.T, scopes ...string) string {
	t.Helper()
	token, err := devtoken.Mint([]byte(testSecret), "tester", scopes, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// sign makes a token of any claims.
func sign(t *testing.T, method jwt.SigningMethod, key any, claims jwt.MapClaims, header ...string) string {
	t.Helper()
	token := jwt.NewWithClaims(method, claims)
	for i := 0; i+1 < len(header); i += 2 {
		token.Header[header[i]] = header[i+1]
	}
	s, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// want compares status and body exactly.
func (a answer) want(t *testing.T, status int, body string) {
	t.Helper()
	if a.status != status || a.body != body {
		t.Errorf("got  %d %s\nwant %d %s", a.status, a.body, status, body)
	}
}

// wantProblem compares status and code, and that nothing internal is told.
func (a answer) wantProblem(t *testing.T, status int, code string) {
	t.Helper()
	if a.status != status || !strings.Contains(a.body, `"code":"`+code+`"`) {
		t.Errorf("got %d %s, want %d with code %s", a.status, a.body, status, code)
	}
	for _, secret := range []string{"10.1.2.3", "hunter2", "dial", "amazonaws", "goroutine", testSecret} {
		if strings.Contains(a.body, secret) {
			t.Errorf("the body tells %q: %s", secret, a.body)
		}
	}
	if status == http.StatusServiceUnavailable && a.header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
}

// path escapes a session id into a path.
func path(id, suffix string) string { return "/cloud/sessions/" + url.PathEscape(id) + suffix }
