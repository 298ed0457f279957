package api_test

import (
	"crypto/elliptic"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"cloudsession/functions/api"
)

// keyServer is the key server of an issuer, without a network.
type keyServer struct {
	keys    []map[string]any
	body    string // instead of keys
	status  int    // default 200
	err     error
	fetches atomic.Int32
}

func (s *keyServer) RoundTrip(*http.Request) (*http.Response, error) {
	s.fetches.Add(1)
	if s.err != nil {
		return nil, s.err
	}
	body := []byte(s.body)
	if s.body == "" {
		var err error
		if body, err = json.Marshal(map[string]any{"keys": s.keys}); err != nil {
			return nil, err
		}
	}
	status := s.status
	if status == 0 {
		status = http.StatusOK
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(string(body)))}, nil
}

func (s *keyServer) world(t *testing.T) *world {
	t.Helper()
	auth, err := api.NewAuth(api.AuthConfig{
		JWKSURL: "https://id.example/keys", Issuer: "https://id.example", Audience: "sessions",
		HTTP: &http.Client{Transport: s},
	})
	if err != nil {
		t.Fatal(err)
	}
	return newWorld(t, func(o *api.Options) { o.Auth = auth })
}

func (w *world) with(token string) answer {
	w.t.Helper()
	r := w.request("GET", "/cloud/sessions")
	r.Header.Set("Authorization", "Bearer "+token)
	return w.send(r)
}

func goodClaims() jwt.MapClaims {
	return jwt.MapClaims{"iss": "https://id.example", "aud": "sessions", "sub": "a", "scope": "sessions:read", "exp": inAnHour()}
}

func without(name string) jwt.MapClaims {
	c := goodClaims()
	delete(c, name)
	return c
}

func but(name string, value any) jwt.MapClaims {
	c := goodClaims()
	c[name] = value
	return c
}

func TestKeySet(t *testing.T) {
	r1, r2, e1, e384 := mustRSA(t), mustRSA(t), mustEC(t, elliptic.P256()), mustEC(t, elliptic.P384())
	forEncryption := rsaJWK(&r2.PublicKey, "enc")
	forEncryption["use"] = "enc"
	forPS := rsaJWK(&r2.PublicKey, "ps")
	forPS["alg"] = "PS256"
	server := &keyServer{keys: []map[string]any{
		rsaJWK(&r1.PublicKey, "r1"), ecJWK(t, &e1.PublicKey, "e1", "P-256"), ecJWK(t, &e384.PublicKey, "e384", "P-384"),
		forEncryption, forPS,
		{"kty": "oct", "kid": "shared", "k": b64([]byte(testSecret))},
		{"kty": "something new", "kid": "x"},
	}}
	// In false time: in real time a busy machine may take so long that another fetch is due.
	synctest.Test(t, func(t *testing.T) {
		rs := func(c jwt.MapClaims, header ...string) string {
			return sign(t, jwt.SigningMethodRS256, r1, c, header...)
		}
		admin := without("scope")
		admin["roles"] = []string{"admin"} // of the identity provider's, not the Node service's
		tests := []struct {
			name, token string
			status      int
		}{
			{"a role and no scope", rs(admin, "kid", "r1"), 403},
			{"RS256", rs(goodClaims(), "kid", "r1"), 200},
			{"ES256", sign(t, jwt.SigningMethodES256, e1, goodClaims(), "kid", "e1"), 200},
			{"no key id", rs(goodClaims()), 200},
			{"wrong issuer", rs(but("iss", "https://evil.example"), "kid", "r1"), 401},
			{"no issuer", rs(without("iss"), "kid", "r1"), 401},
			{"wrong audience", rs(but("aud", "mail"), "kid", "r1"), 401},
			{"no audience", rs(without("aud"), "kid", "r1"), 401},
			{"no exp", rs(without("exp"), "kid", "r1"), 401},
			{"unknown key", sign(t, jwt.SigningMethodRS256, r2, goodClaims(), "kid", "r2"), 401},
			{"another key's id", sign(t, jwt.SigningMethodRS256, r2, goodClaims(), "kid", "r1"), 401},
			{"key of another kind", sign(t, jwt.SigningMethodES256, e1, goodClaims(), "kid", "r1"), 401},
			{"encryption key", sign(t, jwt.SigningMethodRS256, r2, goodClaims(), "kid", "enc"), 401},
			{"key of another algorithm", sign(t, jwt.SigningMethodRS256, r2, goodClaims(), "kid", "ps"), 401},
			{"RS512", sign(t, jwt.SigningMethodRS512, r1, goodClaims(), "kid", "r1"), 401},
			{"PS256", sign(t, jwt.SigningMethodPS256, r1, goodClaims(), "kid", "r1"), 401},
			{"ES384", sign(t, jwt.SigningMethodES384, e384, goodClaims(), "kid", "e384"), 401},
			{"none", sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, goodClaims(), "kid", "r1"), 401},
			{"HS256 with the public key as secret", sign(t, jwt.SigningMethodHS256, pemOf(t, &r1.PublicKey), goodClaims(), "kid", "r1"), 401},
			{"HS256 with the modulus as secret", sign(t, jwt.SigningMethodHS256, r1.N.Bytes(), goodClaims(), "kid", "r1"), 401},
			{"HS256 with a key of the set", sign(t, jwt.SigningMethodHS256, []byte(testSecret), goodClaims(), "kid", "shared"), 401},
		}
		w := server.world(t)
		for _, tt := range tests {
			if a := w.with(tt.token); a.status != tt.status {
				t.Errorf("%s: %d %s, want %d", tt.name, a.status, a.body, tt.status)
			}
		}
		if n := server.fetches.Load(); n != 1 {
			t.Errorf("%d fetches: tokens with unknown keys reach the key server too often", n)
		}
	})
}

// TestKeySetAges follows one key set through its life, in false time.
func TestKeySetAges(t *testing.T) {
	r1, r2 := mustRSA(t), mustRSA(t)
	synctest.Test(t, func(t *testing.T) {
		server := &keyServer{err: errors.New("no route to host")}
		w := server.world(t)
		token := func(n int) string {
			if n == 1 {
				return sign(t, jwt.SigningMethodRS256, r1, goodClaims(), "kid", "r1")
			}
			return sign(t, jwt.SigningMethodRS256, r2, goodClaims(), "kid", "r2")
		}
		expect := func(step string, n, status, fetches int) {
			t.Helper()
			a := w.with(token(n))
			if a.status != status || int(server.fetches.Load()) != fetches {
				t.Errorf("%s: %d %s after %d fetches, want %d after %d", step, a.status, a.body, server.fetches.Load(), status, fetches)
			}
		}
		expect("server down at first", 1, 503, 1)
		expect("asked again at once", 1, 503, 1)
		time.Sleep(11 * time.Second)
		server.err, server.keys = nil, []map[string]any{rsaJWK(&r1.PublicKey, "r1")}
		expect("server up", 1, 200, 2)
		expect("key not there yet", 2, 401, 2)
		time.Sleep(11 * time.Second)
		server.keys = append(server.keys, rsaJWK(&r2.PublicKey, "r2"))
		expect("key added", 2, 200, 3)
		time.Sleep(11 * time.Minute)
		server.keys = server.keys[1:]
		expect("key withdrawn", 1, 401, 4)
		time.Sleep(11 * time.Minute)
		server.err = errors.New("no route to host")
		expect("server down, keys old", 2, 200, 5)
		time.Sleep(50 * time.Minute)
		expect("keys too old", 2, 503, 6)
	})
}

func TestKeySetBroken(t *testing.T) {
	r1, small := mustRSA(t), map[string]any{"kty": "RSA", "kid": "r1", "n": b64(make([]byte, 128)), "e": "AQAB"}
	token := sign(t, jwt.SigningMethodRS256, r1, goodClaims(), "kid", "r1")
	for name, server := range map[string]*keyServer{
		"not JSON":       {body: "<html>"},
		"no keys":        {body: `{"keys":[]}`},
		"status 500":     {status: 500, keys: []map[string]any{rsaJWK(&r1.PublicKey, "r1")}},
		"redirect":       {status: 302},
		"endless":        {body: `{"keys":[` + strings.Repeat(" ", 600<<10) + `]}`},
		"only weak keys": {keys: []map[string]any{small}},
	} {
		t.Run(name, func(t *testing.T) {
			server.world(t).with(token).wantProblem(t, 503, "unavailable")
		})
	}
}

// TestKeySetOverHTTP: the client that is used when none is given.
func TestKeySetOverHTTP(t *testing.T) {
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	key := mustRSA(t)
	token := sign(t, jwt.SigningMethodRS256, key, goodClaims(), "kid", "r1")
	body, err := json.Marshal(map[string]any{"keys": []any{rsaJWK(&key.PublicKey, "r1")}})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		if _, err := w.Write(body); err != nil {
			t.Error(err)
		}
	})
	mux.Handle("/moved", http.RedirectHandler("/keys", http.StatusFound))
	mux.Handle("/round", http.RedirectHandler("/round", http.StatusFound))
	mux.Handle("/open", http.RedirectHandler("http://keys.example/keys", http.StatusFound))
	server := httptest.NewServer(mux)
	defer server.Close()
	for path, status := range map[string]int{"/keys": 200, "/moved": 200, "/round": 503, "/open": 503, "/none": 503} {
		// A fetch that takes too long on a busy machine is tried again only after a pause, or by another Auth.
		for late := time.Now().Add(2 * time.Minute); ; {
			a, log := overHTTP(t, server.URL+path, token)
			if a.status != status && a.status == http.StatusServiceUnavailable && time.Now().Before(late) {
				continue
			}
			if a.status != status {
				t.Errorf("%s: %d %s", path, a.status, a.body)
			}
			if strings.Contains(log, "dial") {
				t.Errorf("%s: went to another host: %s", path, log)
			}
			break
		}
	}
}

// overHTTP sends a token to an API that takes its keys from url, and returns what that logged, too.
func overHTTP(t *testing.T, url, token string) (a answer, log string) {
	t.Helper()
	auth, err := api.NewAuth(api.AuthConfig{JWKSURL: url, Issuer: "https://id.example", Audience: "sessions"})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(o *api.Options) { o.Auth = auth })
	a = w.with(token)
	return a, w.log.String()
}
