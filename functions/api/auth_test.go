package api_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"cloudsession/functions/api"
	"cloudsession/shared/devtoken"
)

func inAnHour() int64 { return time.Now().Add(time.Hour).Unix() }

func TestTokens(t *testing.T) {
	rsaKey := mustRSA(t)
	hs := func(claims jwt.MapClaims) string {
		return sign(t, jwt.SigningMethodHS256, []byte(testSecret), claims)
	}
	good := jwt.MapClaims{"sub": "a", "scope": "sessions:read", "exp": inAnHour()}
	tampered := func(token string, part int) string {
		parts := strings.Split(token, ".")
		b := []byte(parts[part])
		b[len(b)/2] ^= 1
		parts[part] = string(b)
		return strings.Join(parts, ".")
	}
	tests := []struct {
		name   string
		header []string // values of Authorization
		status int
	}{
		{"good", []string{"Bearer " + hs(good)}, 200},
		{"scheme in other case", []string{"bearer " + hs(good)}, 200},
		{"scope as array", []string{"Bearer " + hs(jwt.MapClaims{"scope": []string{"sessions:read"}, "exp": inAnHour()})}, 200},
		{"scope among others", []string{"Bearer " + hs(jwt.MapClaims{"scope": "openid sessions:read email", "exp": inAnHour()})}, 200},
		{"expired within leeway", []string{"Bearer " + hs(jwt.MapClaims{"scope": "sessions:read", "exp": time.Now().Add(-10 * time.Second).Unix()})}, 200},
		{"Node admin by role", []string{"Bearer " + hs(jwt.MapClaims{"user_id": 7, "email": "a@b.c", "name": "A", "role": "admin", "exp": inAnHour()})}, 200},
		{"Node admin by roles", []string{"Bearer " + hs(jwt.MapClaims{"user_id": "7", "roles": []string{"agent", "admin"}, "exp": inAnHour()})}, 200},

		{"none", nil, 401},
		{"empty", []string{""}, 401},
		{"scheme only", []string{"Bearer"}, 401},
		{"scheme and space", []string{"Bearer "}, 401},
		{"other scheme", []string{"Basic " + hs(good)}, 401},
		{"two headers", []string{"Bearer " + hs(good), "Bearer " + hs(good)}, 401},
		{"two tokens in one header", []string{"Bearer " + hs(good) + ",Bearer " + hs(good)}, 401},
		{"not a token", []string{"Bearer abc"}, 401},
		{"huge", []string{"Bearer " + strings.Repeat("a", 9<<10)}, 401},
		{"expired", []string{"Bearer " + hs(jwt.MapClaims{"scope": "sessions:read", "exp": time.Now().Add(-time.Minute).Unix()})}, 401},
		{"never expires", []string{"Bearer " + hs(jwt.MapClaims{"scope": "sessions:read"})}, 401},
		{"not yet good", []string{"Bearer " + hs(jwt.MapClaims{"scope": "sessions:read", "exp": inAnHour(), "nbf": time.Now().Add(time.Minute).Unix()})}, 401},
		{"exp as text", []string{"Bearer " + hs(jwt.MapClaims{"scope": "sessions:read", "exp": "tomorrow"})}, 401},
		{"scope is null", []string{"Bearer " + hs(jwt.MapClaims{"scope": nil, "role": "admin", "exp": inAnHour()})}, 401},
		{"scope is a number", []string{"Bearer " + hs(jwt.MapClaims{"scope": 1, "exp": inAnHour()})}, 401},
		{"other secret", []string{"Bearer " + sign(t, jwt.SigningMethodHS256, []byte(strings.Repeat("x", 40)), good)}, 401},
		{"tampered header", []string{"Bearer " + tampered(hs(good), 0)}, 401},
		{"tampered claims", []string{"Bearer " + tampered(hs(good), 1)}, 401},
		{"tampered signature", []string{"Bearer " + tampered(hs(good), 2)}, 401},
		{"no signature", []string{"Bearer " + strings.Join(strings.Split(hs(good), ".")[:2], ".") + "."}, 401},
		{"alg none", []string{"Bearer " + sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, good)}, 401},
		{"alg HS512", []string{"Bearer " + sign(t, jwt.SigningMethodHS512, []byte(testSecret), good)}, 401},
		{"alg RS256", []string{"Bearer " + sign(t, jwt.SigningMethodRS256, rsaKey, good)}, 401},
		{"critical extension", []string{"Bearer " + sign(t, jwt.SigningMethodHS256, []byte(testSecret), good, "crit", "b64")}, 401},

		{"wrong scope", []string{"Bearer " + hs(jwt.MapClaims{"scope": "sessions:write", "exp": inAnHour()})}, 403},
		{"no scope, no role", []string{"Bearer " + hs(jwt.MapClaims{"sub": "a", "exp": inAnHour()})}, 403},
		{"empty scope", []string{"Bearer " + hs(jwt.MapClaims{"scope": "", "exp": inAnHour()})}, 403},
		{"scope in other case", []string{"Bearer " + hs(jwt.MapClaims{"scope": "Sessions:Read", "exp": inAnHour()})}, 403},
		{"scope as prefix", []string{"Bearer " + hs(jwt.MapClaims{"scope": "sessions:readall", "exp": inAnHour()})}, 403},
		{"Node agent", []string{"Bearer " + hs(jwt.MapClaims{"user_id": 8, "role": "agent", "exp": inAnHour()})}, 403},
		{"Node admin who asked for nothing", []string{"Bearer " + hs(jwt.MapClaims{"role": "admin", "scope": "", "exp": inAnHour()})}, 403},
		{"Node admin who asked for less", []string{"Bearer " + hs(jwt.MapClaims{"role": "admin", "scope": "openid", "exp": inAnHour()})}, 403},
	}
	w := newWorld(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := w.request("GET", "/cloud/sessions")
			r.Header["Authorization"] = tt.header
			a := w.send(r)
			switch tt.status {
			case 200:
				a.want(t, 200, `{"sessions":[]}`)
			case 401:
				a.want(t, 401, `{"error":"A valid bearer token is required","code":"unauthorized"}`)
			case 403:
				a.wantProblem(t, 403, "insufficient_scope")
			}
			if got := a.header.Get("WWW-Authenticate"); (got == "") != (tt.status == 200) {
				t.Errorf("WWW-Authenticate: %q", got)
			}
		})
	}
	if strings.Contains(w.log.String(), testSecret) || strings.Contains(w.log.String(), hs(good)) {
		t.Error("the log holds a secret or a token")
	}
}

// TestScopes tries every route with every set of scopes.
func TestScopes(t *testing.T) {
	w := newWorld(t)
	for _, route := range api.Routes() {
		target := strings.NewReplacer("{sessionId}", "nobody", "{commandId}", "01KFJ4V7Z6ZB3Q8J6T1N5M2R9C").Replace(route.Path)
		for _, scope := range []string{api.ScopeRead, api.ScopeWrite} {
			r := w.request(route.Method, target)
			r.Header.Set("Authorization", "Bearer "+mint(t, scope))
			a := w.send(r)
			allowed := strings.Contains(strings.Join(route.Scopes, " "), scope)
			if allowed == (a.status == http.StatusForbidden) {
				t.Errorf("%s with %s: %d %s", route.Name, scope, a.status, a.body)
			}
		}
	}
}

func TestScopeNamesAgree(t *testing.T) {
	if devtoken.ScopeRead != api.ScopeRead || devtoken.ScopeWrite != api.ScopeWrite {
		t.Error("devtoken and api differ")
	}
}

func TestAuthConfig(t *testing.T) {
	secret := []byte(strings.Repeat("s", 32))
	const url = "https://id.example/keys"
	tests := []struct {
		name   string
		config api.AuthConfig
		errors []string // all of them; none means it is accepted
	}{
		{"secret", api.AuthConfig{Secret: secret}, nil},
		{"keys", api.AuthConfig{JWKSURL: url, Issuer: "i", Audience: "a"}, nil},
		{"keys on loopback", api.AuthConfig{JWKSURL: "http://127.0.0.1:9/keys", Issuer: "i", Audience: "a"}, nil},
		{"nothing", api.AuthConfig{}, []string{"JWT_SECRET", "JWT_JWKS_URL"}},
		{"both", api.AuthConfig{Secret: secret, JWKSURL: url, Issuer: "i", Audience: "a"}, []string{"both"}},
		{"short secret", api.AuthConfig{Secret: secret[:31]}, []string{"shorter than 32 bytes"}},
		{"keys without names", api.AuthConfig{JWKSURL: url}, []string{"JWT_ISSUER", "JWT_AUDIENCE"}},
		{"keys in the open", api.AuthConfig{JWKSURL: "http://id.example/keys", Issuer: "i", Audience: "a"}, []string{"https"}},
		{"keys from a file", api.AuthConfig{JWKSURL: "file:///keys", Issuer: "i", Audience: "a"}, []string{"https"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := api.NewAuth(tt.config)
			if (err == nil) != (tt.errors == nil) {
				t.Fatalf("got %v", err)
			}
			for _, text := range tt.errors {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("%q does not say %q", err, text)
				}
			}
			if err != nil && strings.Contains(err.Error(), "sss") {
				t.Error("the error quotes the secret")
			}
		})
	}
}

// TestSecretIssuer: with a secret, issuer and audience count only if they are set.
func TestSecretIssuer(t *testing.T) {
	auth, err := api.NewAuth(api.AuthConfig{Secret: []byte(testSecret), Issuer: "us", Audience: "sessions"})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(o *api.Options) { o.Auth = auth })
	for _, tt := range []struct {
		claims jwt.MapClaims
		status int
	}{
		{jwt.MapClaims{"iss": "us", "aud": "sessions"}, 200},
		{jwt.MapClaims{"iss": "us", "aud": []string{"other", "sessions"}}, 200},
		{jwt.MapClaims{"iss": "them", "aud": "sessions"}, 401},
		{jwt.MapClaims{"iss": "us", "aud": "other"}, 401},
		{jwt.MapClaims{}, 401},
	} {
		tt.claims["exp"], tt.claims["scope"] = inAnHour(), "sessions:read"
		r := w.request("GET", "/cloud/sessions")
		r.Header.Set("Authorization", "Bearer "+sign(t, jwt.SigningMethodHS256, []byte(testSecret), tt.claims))
		if a := w.send(r); a.status != tt.status {
			t.Errorf("%v: %d", tt.claims, a.status)
		}
	}
}

func mustRSA(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func mustEC(t *testing.T, c elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// pemOf is a public key in the form that confused libraries take for an HMAC key.
func pemOf(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func rsaJWK(k *rsa.PublicKey, kid string) map[string]any {
	return map[string]any{"kty": "RSA", "kid": kid, "n": b64(k.N.Bytes()), "e": b64(big.NewInt(int64(k.E)).Bytes())}
}

func ecJWK(t *testing.T, k *ecdsa.PublicKey, kid, crv string) map[string]any {
	t.Helper()
	point, err := k.Bytes() // 4, x, y
	if err != nil {
		t.Fatal(err)
	}
	half := len(point[1:]) / 2
	return map[string]any{"kty": "EC", "kid": kid, "crv": crv, "x": b64(point[1 : 1+half]), "y": b64(point[1+half:])}
}
