package api

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
)

const (
	keysFetchTimeout = 3 * time.Second
	maxKeys          = 512 << 10 // bytes of a key set
	// keysLifetime is when keys are fetched again though nothing asked for it,
	// so that a withdrawn key stops working.
	keysLifetime = 10 * time.Minute
	// keysPause is the least time between two fetches: callers without any
	// token must not be able to make the API hammer the key server.
	keysPause = 10 * time.Second
	// keysStale is how long old keys serve while the key server is down.
	keysStale = time.Hour
)

// errKeys says that the signing keys are not at hand, which is no fault of the token.
var errKeys = errors.New("signing keys not available")

// keySet is a JSON Web Key Set (RFC 7517) behind a URL, fetched when needed.
// There is no goroutine that refreshes it: a frozen Lambda would run it at the
// wrong time or never.
type keySet struct {
	url    string
	client *http.Client

	mu      sync.Mutex // held while fetching: everybody waits for the one fetch
	keys    keyfunc.Keyfunc
	fetched time.Time // when keys came
	tried   time.Time // when a fetch was last begun
	err     error     // of the last fetch
}

func newKeySet(url string, client *http.Client) *keySet {
	if client == nil {
		client = &http.Client{CheckRedirect: func(next *http.Request, via []*http.Request) error {
			if len(via) > 3 || !trustworthyURL(next.URL.String()) {
				return errors.New("redirected to where keys are not taken from")
			}
			return nil
		}}
	}
	return &keySet{url: url, client: client}
}

// keyfunc finds the key a token says it is signed with. A key id that is not
// known may be a new key, so the set is fetched again, within keysPause.
func (s *keySet) keyfunc(ctx context.Context) jwt.Keyfunc {
	return func(t *jwt.Token) (any, error) {
		keys, err := s.current(ctx, false)
		if err != nil {
			return nil, err
		}
		key, err := keys.KeyfuncCtx(ctx)(t)
		if !errors.Is(err, jwkset.ErrKeyNotFound) {
			return key, err
		}
		if keys, err = s.current(ctx, true); err != nil {
			return nil, err
		}
		return keys.KeyfuncCtx(ctx)(t)
	}
}

// current returns the keys, fetched now if they are old or renew asks for it.
func (s *keySet) current(ctx context.Context, renew bool) (keyfunc.Keyfunc, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys != nil && !renew && time.Since(s.fetched) < keysLifetime {
		return s.keys, nil
	}
	if s.tried.IsZero() || time.Since(s.tried) >= keysPause {
		s.tried = time.Now()
		// A caller who leaves must not spoil the fetch for the others.
		keys, err := s.fetch(context.WithoutCancel(ctx))
		if s.err = err; err == nil {
			s.keys, s.fetched = keys, time.Now()
		}
	}
	if s.keys != nil && time.Since(s.fetched) < keysStale {
		return s.keys, nil
	}
	return nil, fmt.Errorf("%w: %w", errKeys, s.err)
}

func (s *keySet) fetch(ctx context.Context) (keyfunc.Keyfunc, error) {
	ctx, cancel := context.WithTimeout(ctx, keysFetchTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, fmt.Errorf("fetch keys: %w", err)
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	res, err := s.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetch keys: %w", err)
	}
	defer res.Body.Close() //nolint:errcheck // nothing is lost when closing what was read fails
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch keys: status %d", res.StatusCode)
	}
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxKeys+1))
	if err != nil {
		return nil, fmt.Errorf("fetch keys: %w", err)
	}
	if len(raw) > maxKeys {
		return nil, fmt.Errorf("fetch keys: more than %d bytes", maxKeys)
	}
	return parseKeys(ctx, raw)
}

// parseKeys keeps the keys of a set that can check RS256 and ES256 signatures:
// a set may hold others, for other uses, in forms of their own.
func parseKeys(ctx context.Context, raw []byte) (keyfunc.Keyfunc, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(raw, &set); err != nil {
		return nil, fmt.Errorf("read key set: %w", err)
	}
	store, kept := jwkset.NewMemoryStorage(), 0
	for _, k := range set.Keys {
		jwk, err := jwkset.NewJWKFromRawJSON(k, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
		if err != nil || !usable(jwk) {
			continue
		}
		if err := store.KeyWrite(ctx, jwk); err != nil {
			return nil, fmt.Errorf("read key set: %w", err)
		}
		kept++
	}
	if kept == 0 {
		return nil, fmt.Errorf("read key set: none of %d keys is an RSA or P-256 signing key", len(set.Keys))
	}
	return keyfunc.New(keyfunc.Options{Storage: store})
}

// minRSA is RFC 7518, section 3.3.
const minRSA = 2048

// usable says whether a key is public, long enough, and for RS256 or ES256 signatures.
func usable(k jwkset.JWK) bool {
	m := k.Marshal()
	if m.USE != "" && m.USE != jwkset.UseSig {
		return false
	}
	switch key := k.Key().(type) {
	case *rsa.PublicKey:
		return key.N.BitLen() >= minRSA && (m.ALG == "" || m.ALG == jwkset.AlgRS256)
	case *ecdsa.PublicKey:
		return key.Curve == elliptic.P256() && (m.ALG == "" || m.ALG == jwkset.AlgES256)
	}
	return false
}
