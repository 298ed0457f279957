package envelope

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"unicode/utf8"
)

// MinSecret is the least number of characters of the current secret.
const MinSecret = 32

// placeholder is the secret in the published configuration example.
const placeholder = "your-super-secret-encryption-key-change-this-in-production"

// Why a secret is refused.
var (
	ErrSecretMissing = errors.New("SESSION_ENCRYPTION_SECRET not set")
	ErrSecretWeak    = errors.New("SESSION_ENCRYPTION_SECRET refused")
)

// Keyring holds the current secret and the previous ones, and the keys derived
// from them. It is safe for concurrent use and never shows its secrets.
type Keyring struct {
	secrets []*secret // current first
	cache   *cache
}

// NewKeyring returns a keyring that seals with current and opens what any of
// the secrets sealed. Empty previous secrets are ignored; they may be weak,
// since data sealed with them exists already. It returns ErrSecretMissing, or
// ErrSecretWeak for a current secret under MinSecret characters or the
// placeholder of the documentation.
func NewKeyring(current string, previous ...string) (*Keyring, error) {
	const how = "make one with: openssl rand -hex 32"
	switch {
	case current == "":
		return nil, ErrSecretMissing
	case current == placeholder:
		return nil, fmt.Errorf("%w: it is the placeholder of the documentation; %s", ErrSecretWeak, how)
	case utf8.RuneCountInString(current) < MinSecret:
		return nil, fmt.Errorf("%w: it is under %d characters; %s", ErrSecretWeak, MinSecret, how)
	}
	k := &Keyring{secrets: []*secret{newSecret(current)}, cache: newCache(maxCached)}
	for _, p := range previous {
		if p != "" && !k.has(p) {
			k.secrets = append(k.secrets, newSecret(p))
		}
	}
	return k, nil
}

func (k *Keyring) has(value string) bool {
	for _, s := range k.secrets {
		if s.value == value {
			return true
		}
	}
	return false
}

// Derive derives the keys of a session under the current secret (about 20 ms)
// unless they are there already, so that a later Seal or Open needn't.
func (k *Keyring) Derive(sessionID string, salt Salt) {
	k.secrets[0].keyID(sessionID)
	k.cache.keys(k.secrets[0], sessionID, salt)
}

// SessionSalt names the keys of one session.
type SessionSalt struct {
	SessionID string
	Salt      Salt
}

// DeriveAhead derives the keys of sessions that may have to be taken, one
// after the other, until all are there or ctx ends. It returns ctx's error if
// it stopped early.
func (k *Keyring) DeriveAhead(ctx context.Context, sessions []SessionSalt) error {
	for _, s := range sessions {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("derive keys ahead: %w", err)
		}
		k.Derive(s.SessionID, s.Salt)
	}
	return nil
}

// String hides the secrets.
func (k *Keyring) String() string { return fmt.Sprintf("keyring of %d secrets", len(k.secrets)) }

// GoString hides the secrets.
func (k *Keyring) GoString() string { return k.String() }

// Format hides the secrets from every verb.
func (k *Keyring) Format(f fmt.State, _ rune) { fmt.Fprint(f, k.String()) }

// LogValue hides the secrets.
func (k *Keyring) LogValue() slog.Value { return slog.StringValue(k.String()) }

// secret is one secret and what names it in key ids.
type secret struct {
	value string
	idKey func() [32]byte
}

func newSecret(value string) *secret {
	return &secret{value: value, idKey: sync.OnceValue(func() [32]byte { return deriveIDKey(value) })}
}
