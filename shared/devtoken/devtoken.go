// Package devtoken mints bearer tokens for development and tests. Only the
// command line and the local stack use it: the functions verify tokens and
// never make them.
package devtoken

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"cloudsession/shared/cloudstore"
)

// The scopes the API knows.
const (
	ScopeRead  = "sessions:read"  // list sessions, read a session's or a command's state
	ScopeWrite = "sessions:write" // sync, restore and delete
)

// MinSecret is the length in bytes below which the API refuses JWT_SECRET
// (RFC 7518, section 3.2: a key at least as long as the hash).
const MinSecret = 32

// MaxTTL bounds the life of a token minted here.
const MaxTTL = 366 * 24 * time.Hour

// ErrWeakSecret says that the secret is shorter than MinSecret.
var ErrWeakSecret = errors.New("JWT_SECRET is shorter than 32 bytes")

// Mint signs an HS256 token for subject that is good from now for ttl, which is
// cut to whole seconds. Scopes go into the space-separated claim "scope"
// (RFC 8693, section 4.2); a scope the API does not know is an error, and so is
// none at all, since such a token opens nothing.
//
// Sessions limit the token to those: ids, or beginnings of ids with a "*" behind
// them (claim "sessions"). None means all sessions.
func Mint(secret []byte, subject string, scopes []string, ttl time.Duration, sessions ...string) (string, error) {
	switch {
	case len(secret) < MinSecret:
		return "", ErrWeakSecret
	case subject == "":
		return "", errors.New("mint token: no subject")
	case len(scopes) == 0:
		return "", errors.New("mint token: no scope")
	case ttl < time.Second || ttl > MaxTTL:
		return "", fmt.Errorf("mint token: lifetime %s is not between 1s and %s", ttl, MaxTTL)
	}
	for _, s := range scopes {
		if s != ScopeRead && s != ScopeWrite {
			return "", fmt.Errorf("mint token: unknown scope %q", s)
		}
	}
	now := time.Now()
	claims := jwt.MapClaims{
		"sub":   subject,
		"scope": strings.Join(scopes, " "),
		"iat":   now.Unix(),
		"exp":   now.Add(ttl).Unix(),
	}
	if len(sessions) > 0 {
		if _, err := cloudstore.ParseSelection(sessions); err != nil {
			return "", fmt.Errorf("mint token: %w", err)
		}
		claims["sessions"] = sessions
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(secret)
	if err != nil {
		return "", fmt.Errorf("mint token: %w", err)
	}
	return token, nil
}
