package devtoken

import (
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

var secret = []byte(strings.Repeat("k", MinSecret))

func TestMint(t *testing.T) {
	token, err := Mint(secret, "dev", []string{ScopeRead, ScopeWrite}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	var claims struct {
		jwt.RegisteredClaims
		Scope    string `json:"scope"`
		Sessions any    `json:"sessions"`
	}
	_, err = jwt.ParseWithClaims(token, &claims, func(*jwt.Token) (any, error) { return secret, nil },
		jwt.WithValidMethods([]string{"HS256"}), jwt.WithExpirationRequired())
	if err != nil {
		t.Fatal(err)
	}
	if claims.Subject != "dev" || claims.Scope != "sessions:read sessions:write" {
		t.Errorf("claims: %+v", claims)
	}
	if claims.Sessions != nil {
		t.Errorf("limited to %q", claims.Sessions)
	}
	if left := time.Until(claims.ExpiresAt.Time); left > time.Hour || left < time.Hour-time.Minute {
		t.Errorf("good for %s", left)
	}
}

func TestMintRefuses(t *testing.T) {
	all := []string{ScopeRead}
	for name, mint := range map[string]func() (string, error){
		"weak secret":   func() (string, error) { return Mint(secret[1:], "dev", all, time.Hour) },
		"no subject":    func() (string, error) { return Mint(secret, "", all, time.Hour) },
		"no scope":      func() (string, error) { return Mint(secret, "dev", nil, time.Hour) },
		"unknown scope": func() (string, error) { return Mint(secret, "dev", []string{"sessions:*"}, time.Hour) },
		"no lifetime":   func() (string, error) { return Mint(secret, "dev", all, 0) },
		"past":          func() (string, error) { return Mint(secret, "dev", all, -time.Hour) },
		"bad session":   func() (string, error) { return Mint(secret, "dev", all, time.Hour, "personal", "") },
		"for ever":      func() (string, error) { return Mint(secret, "dev", all, MaxTTL+1) },
	} {
		if token, err := mint(); err == nil || token != "" {
			t.Errorf("%s: minted", name)
		} else if strings.Contains(err.Error(), "kkk") {
			t.Errorf("%s: quotes the secret", name)
		}
	}
}
