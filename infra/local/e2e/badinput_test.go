package e2e

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"cloudsession/shared/devtoken"
)

func TestTokens(t *testing.T) {
	s := newScene(t)
	good := func(scopes ...string) string {
		token, err := world.Stack.Token(scopes...)
		s.must(err)
		return token
	}
	foreign, err := devtoken.Mint([]byte("another secret of more than 32 bytes"), "x", []string{devtoken.ScopeRead}, time.Hour)
	s.must(err)
	// Nothing mints a token that is over already.
	until := func(left time.Duration) string {
		token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
			"sub": "x", "scope": devtoken.ScopeRead, "exp": time.Now().Add(left).Unix(),
		}).SignedString([]byte(world.Stack.JWTSecret()))
		s.must(err)
		return token
	}
	read := good(devtoken.ScopeRead)
	for _, c := range []struct {
		name, token, method, what string
		status                    int
	}{
		{"no token", "", http.MethodGet, "/status", http.StatusUnauthorized},
		{"not a token", "hello", http.MethodGet, "/status", http.StatusUnauthorized},
		{"signed by somebody else", foreign, http.MethodGet, "/status", http.StatusUnauthorized},
		{"good for an hour", until(time.Hour), http.MethodGet, "/status", http.StatusNotFound},
		{"expired an hour ago", until(-time.Hour), http.MethodGet, "/status", http.StatusUnauthorized},
		{"cut short", read[:len(read)-3], http.MethodGet, "/status", http.StatusUnauthorized},
		{"reading is enough for status", read, http.MethodGet, "/status", http.StatusNotFound},
		{"reading is not enough for restore", read, http.MethodPost, "/restore", http.StatusForbidden},
		{"reading is not enough for delete", read, http.MethodDelete, "", http.StatusForbidden},
		{"writing is not enough for status", good(devtoken.ScopeWrite), http.MethodGet, "/status", http.StatusForbidden},
	} {
		t.Run(c.name, func(t *testing.T) {
			resp, err := world.APIAs(s.ctx, c.token, c.method, s.path(c.what), nil)
			if err != nil || resp.Status != c.status {
				t.Errorf("got %d %s, %v; want %d", resp.Status, resp.Body, err, c.status)
			}
		})
	}
}

// Session ids are anything printable, and are never mistaken for one another.
func TestSessionIDs(t *testing.T) {
	s := newScene(t)
	c := s.connector("c")
	ids := []string{
		"toko ☕", "with space ", "with space", "..", "a/b", "a%2Fb", "Case", "case", "'; DROP TABLE whatsapp_sessions; --",
		strings.Repeat("長", 255),
	}
	for i, id := range ids {
		one := *s
		one.session = id
		one.owner = s.phone(int64(7000+i), 3)
		s.must(c.Pair(s.ctx, id, one.owner))
		if body := one.call(http.StatusOK, http.MethodPost, "/sync"); !strings.Contains(body, quote(t, id)) {
			t.Errorf("sync of %q answered %s", id, body)
		}
	}
	for _, id := range ids {
		one := *s
		one.session = id
		one.call(http.StatusOK, http.MethodGet, "/status")
		one.call(http.StatusOK, http.MethodDelete, "")
	}
	for name, id := range map[string]string{
		"256 characters": strings.Repeat("x", 256), "a control character": "a\nb", "unknown": "nobody",
	} {
		want := http.StatusBadRequest
		if id == "nobody" {
			want = http.StatusNotFound
		}
		resp, err := world.API(s.ctx, http.MethodGet, "/cloud/sessions/"+url.PathEscape(id)+"/status", nil)
		if err != nil || resp.Status != want {
			t.Errorf("%s: got %d %s, %v; want %d", name, resp.Status, resp.Body, err, want)
		}
	}
}

func TestRequestsThatMakeNoSense(t *testing.T) {
	s := newScene(t)
	for _, c := range []struct {
		name, method, path string
		body               any
		status             int
	}{
		{"wrong method", http.MethodPut, s.path("/status"), nil, http.StatusMethodNotAllowed},
		{"unknown path", http.MethodGet, "/cloud/nothing", nil, http.StatusNotFound},
		{"huge body", http.MethodPost, s.path("/restore"), map[string]string{"connector": strings.Repeat("x", 2<<20)}, http.StatusRequestEntityTooLarge},
		{"unknown field", http.MethodPost, s.path("/restore"), map[string]string{"connecter": "a"}, http.StatusBadRequest},
		{"unknown connector", http.MethodPost, s.path("/restore"), map[string]string{"connector": "nobody"}, http.StatusNotFound},
		{"bad limit", http.MethodGet, "/cloud/sessions?limit=-1", nil, http.StatusBadRequest},
		{"bad cursor", http.MethodGet, "/cloud/sessions?cursor=zzz", nil, http.StatusBadRequest},
		{"unknown command", http.MethodGet, "/cloud/commands/01ARZ3NDEKTSV4RRFFQ69G5FAV", nil, http.StatusNotFound},
		{"no command id", http.MethodGet, "/cloud/commands/x", nil, http.StatusBadRequest},
	} {
		t.Run(c.name, func(t *testing.T) {
			resp, err := world.API(s.ctx, c.method, c.path, c.body)
			if err != nil || resp.Status != c.status {
				t.Errorf("got %d %s, %v; want %d", resp.Status, resp.Body, err, c.status)
			}
		})
	}
}

// A connector with the wrong secret can't open the session, says so, and
// changes nothing: with the right one it comes back.
func TestWrongSecret(t *testing.T) {
	s := newScene(t)
	c := s.paired("c")
	s.talk(c)
	s.must(c.Stop(stopTime))
	other := s.connector("other", "SESSION_ENCRYPTION_SECRET=quite another secret, long enough to be taken")
	if _, err := other.Open(s.ctx, s.session); err == nil || !strings.Contains(err.Error(), "secret") {
		t.Errorf("open with a wrong secret: %v", err)
	}
	s.must(other.Stop(stopTime))
	right := s.connector("right")
	s.restore()
	s.talk(right)
	s.nothingLost(right)
}

// Every mistake in the configuration is named at once: a value that is no number and
// a file that is not there hide no other.
func TestConfigurationMistakesAreListedTogether(t *testing.T) {
	s := newScene(t)
	for _, wrong := range [][]string{
		{"TIDB_HOST=", "TIDB_PORT=99999", "CAPACITY=none", "LOG_FORMAT=xml", "SESSION_ENCRYPTION_SECRET=short"},
		{"TIDB_HOST=", "TIDB_PORT=99999", "LOG_FORMAT=xml", "PROTECT_SECONDS=0", "SESSION_ENCRYPTION_SECRET=short"},
		{"TIDB_HOST=", "TIDB_TLS=maybe", "TIDB_CA=/nothing.pem", "AWS_ENDPOINT_URL_SQS=queue", "QUEUE_DEAD_LETTER_ARN=dead.fifo", "CAPACITY=none"},
	} {
		out := s.ends(78, wrong...)
		for _, variable := range wrong {
			if name, _, _ := strings.Cut(variable, "="); !strings.Contains(out, name) {
				t.Errorf("%s was not named:\n%s", variable, out)
			}
		}
		if strings.Contains(out, `"short"`) {
			t.Errorf("the secret was printed:\n%s", out)
		}
	}
}

// TiDB refuses the connector: it doesn't wait for what only an operator can mend, but
// ends with what TiDB says. Whoever starts it again, as systemd does, finds it mended.
func TestTiDBRefuses(t *testing.T) {
	s := newScene(t)
	for _, c := range [][2]string{
		{"TIDB_PASSWORD=wrong", "Access denied"},
		{"TIDB_TLS=verify", "TLS"}, // the engine has none
	} {
		out := s.ends(1, c[0])
		if !strings.Contains(out, c[1]) || strings.Contains(out, "waiting for TiDB") {
			t.Errorf("connector run with %s said:\n%s", c[0], out)
		}
	}
}
