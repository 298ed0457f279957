package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"cloudsession/shared/cloudstore"
)

// The scopes of the API.
const (
	ScopeRead  = "sessions:read"  // list and look
	ScopeWrite = "sessions:write" // sync, restore, delete
)

const (
	// minSecret is RFC 7518, section 3.2: a key at least as long as the hash.
	minSecret = 32
	// clockLeeway is how far the clocks of issuer and API may differ.
	clockLeeway = 30 * time.Second
	maxToken    = 8 << 10
)

// AuthConfig says whose tokens are good: either those signed HS256 with
// Secret, or those signed RS256 or ES256 with a key of JWKSURL, whose issuer
// and audience must then be named. The algorithm follows from this choice and
// never from the token.
type AuthConfig struct {
	Secret   []byte // at least 32 bytes
	JWKSURL  string // https, or http on loopback
	Issuer   string // claim iss; required with JWKSURL, optional with Secret
	Audience string // one of claim aud; required with JWKSURL, optional with Secret
	// HTTP fetches JWKSURL. Default: a client with a short timeout that does not
	// leave https.
	HTTP *http.Client
}

// Validate names everything that is wrong with c.
func (c AuthConfig) Validate() error {
	switch {
	case len(c.Secret) == 0 && c.JWKSURL == "":
		return errors.New("neither JWT_SECRET nor JWT_JWKS_URL is set")
	case len(c.Secret) > 0 && c.JWKSURL != "":
		return errors.New("JWT_SECRET and JWT_JWKS_URL are both set: tokens are signed one way")
	case c.JWKSURL == "":
		if len(c.Secret) < minSecret {
			return fmt.Errorf("JWT_SECRET is shorter than %d bytes: make one with openssl rand -hex 32", minSecret)
		}
		return nil
	}
	var errs []error
	if !trustworthyURL(c.JWKSURL) {
		errs = append(errs, errors.New("JWT_JWKS_URL is not an https URL (http is for loopback only)"))
	}
	if c.Issuer == "" {
		errs = append(errs, errors.New("JWT_ISSUER is not set, and JWT_JWKS_URL needs it"))
	}
	if c.Audience == "" {
		errs = append(errs, errors.New("JWT_AUDIENCE is not set, and JWT_JWKS_URL needs it"))
	}
	return errors.Join(errs...)
}

// trustworthyURL says whether what is fetched from s comes from who it names.
func trustworthyURL(s string) bool {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return false
	}
	return u.Scheme == "https" || u.Scheme == "http" && slices.Contains([]string{"localhost", "127.0.0.1", "::1"}, u.Hostname())
}

// Auth checks bearer tokens. It is safe for concurrent use.
type Auth struct {
	parser *jwt.Parser
	key    func(ctx context.Context) jwt.Keyfunc
	roles  bool // a token's roles count; see claims
}

// NewAuth makes an Auth. It fetches nothing yet: a key server that is down
// delays the first request, not the start.
func NewAuth(c AuthConfig) (*Auth, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("configure authentication: %w", err)
	}
	methods := []string{jwt.SigningMethodHS256.Alg()}
	key := func(context.Context) jwt.Keyfunc {
		return func(*jwt.Token) (any, error) { return c.Secret, nil }
	}
	if c.JWKSURL != "" {
		methods = []string{jwt.SigningMethodRS256.Alg(), jwt.SigningMethodES256.Alg()}
		key = newKeySet(c.JWKSURL, c.HTTP).keyfunc
	}
	options := []jwt.ParserOption{
		jwt.WithValidMethods(methods), jwt.WithExpirationRequired(), jwt.WithLeeway(clockLeeway), jwt.WithStrictDecoding(),
	}
	if c.Issuer != "" {
		options = append(options, jwt.WithIssuer(c.Issuer))
	}
	if c.Audience != "" {
		options = append(options, jwt.WithAudience(c.Audience))
	}
	return &Auth{parser: jwt.NewParser(options...), key: key, roles: c.JWKSURL == ""}, nil
}

// Caller is who a token speaks for.
type Caller struct {
	Subject  string // claim sub, else user_id, else email
	Scopes   []string
	Sessions *cloudstore.Selection // those it may know of and act on; nil: all
}

var errToken = errors.New("token is not valid")

// verify returns the caller of a bearer token. Every error about the token
// wraps errToken; errKeys means that it could not be checked.
func (a *Auth) verify(ctx context.Context, token string) (Caller, error) {
	if len(token) > maxToken {
		return Caller{}, fmt.Errorf("%w: longer than %d bytes", errToken, maxToken)
	}
	var c claims
	key := a.key(ctx)
	_, err := a.parser.ParseWithClaims(token, &c, func(t *jwt.Token) (any, error) {
		// RFC 7515, section 4.1.11: an extension that is not understood must be refused.
		if _, ok := t.Header["crit"]; ok {
			return nil, errors.New("critical header extension")
		}
		return key(t)
	})
	switch {
	case errors.Is(err, errKeys):
		return Caller{}, err
	case err != nil:
		return Caller{}, fmt.Errorf("%w: %w", errToken, err)
	}
	return c.caller(a.roles), nil
}

// challenge begins the header WWW-Authenticate.
const challenge = `Bearer realm="cloudsession"`

// bearer takes the token out of the Authorization header, of which there must be one.
func bearer(h http.Header) (string, bool) {
	values := h.Values("Authorization")
	if len(values) != 1 {
		return "", false
	}
	scheme, token, ok := strings.Cut(strings.TrimSpace(values[0]), " ")
	token = strings.TrimSpace(token)
	return token, ok && strings.EqualFold(scheme, "Bearer") && token != ""
}

// admit finds out who is calling and whether they may use the route. The
// response never says what was wrong with a token; the log does.
func (h *Handler) admit(r *request) error {
	token, ok := bearer(r.Header)
	if !ok {
		return unauthorized.with("WWW-Authenticate", challenge)
	}
	caller, err := h.auth.verify(r.Context(), token)
	if errors.Is(err, errKeys) {
		h.log.ErrorContext(r.Context(), "token keys not available", "request_id", r.id, "error", err)
		return keysAway
	}
	if err != nil {
		h.log.InfoContext(r.Context(), "token refused", "request_id", r.id, "error", err)
		return unauthorized.with("WWW-Authenticate", challenge+`, error="invalid_token"`)
	}
	r.caller = caller
	for _, s := range r.route.Scopes {
		if slices.Contains(caller.Scopes, s) {
			return nil
		}
	}
	return forbidden.with("WWW-Authenticate",
		fmt.Sprintf(`%s, error="insufficient_scope", scope="%s"`, challenge, strings.Join(r.route.Scopes, " ")))
}
