package api

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"

	"cloudsession/shared/cloudstore"
)

// roleAdmin is the role of the Node service's tokens that carries both scopes.
const roleAdmin = "admin"

// claims are the claims of a token that matter here.
//
// Scopes come from the claim "scope": one string of words (RFC 8693, section
// 4.2) or an array of words. The Node service's tokens have no scope but "role"
// or "roles": the role "admin" then stands for both scopes, any other role for
// none. A token with neither opens nothing. Where "scope" is present roles do
// not count, so that an administrator can hand out narrow tokens.
//
// The claim "sessions" limits a token to some sessions: an array of session ids
// and of beginnings of ids with a "*" behind them (cloudstore.ParseSelection has
// the rules). Without it the token is good for all sessions; an empty array is
// good for none. A claim of another form, also null, makes the token invalid: one
// that was meant to be narrow must not be taken for a wide one.
type claims struct {
	jwt.RegisteredClaims
	Scope  *words     `json:"scope"`
	Role   texts      `json:"role"`
	Roles  texts      `json:"roles"`
	UserID identifier `json:"user_id"`
	Email  string     `json:"email"`

	Sessions selection `json:"sessions"`
}

func (c *claims) caller() Caller {
	caller := Caller{Subject: c.Subject, Sessions: c.Sessions.Selection}
	if caller.Subject == "" {
		caller.Subject = string(c.UserID)
	}
	if caller.Subject == "" {
		caller.Subject = c.Email
	}
	switch {
	case c.Scope != nil:
		caller.Scopes = *c.Scope
	case slices.Contains(c.Role, roleAdmin), slices.Contains(c.Roles, roleAdmin):
		caller.Scopes = []string{ScopeRead, ScopeWrite}
	}
	return caller
}

// selection is a JSON array of patterns of session ids; nil if there is none.
type selection struct{ *cloudstore.Selection }

// UnmarshalJSON implements json.Unmarshaler. It is called for null, too.
func (s *selection) UnmarshalJSON(b []byte) error {
	var patterns []string
	if err := json.Unmarshal(b, &patterns); err != nil || patterns == nil {
		return errors.New("sessions is no array of texts")
	}
	var err error
	s.Selection, err = cloudstore.ParseSelection(patterns)
	return err
}

// texts is a JSON string or an array of strings.
type texts []string

// UnmarshalJSON implements json.Unmarshaler.
func (t *texts) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*t = texts{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(t))
}

// words is texts, each split at spaces.
type words []string

// UnmarshalJSON implements json.Unmarshaler.
func (w *words) UnmarshalJSON(b []byte) error {
	var t texts
	if err := t.UnmarshalJSON(b); err != nil {
		return err
	}
	*w = strings.Fields(strings.Join(t, " "))
	return nil
}

// identifier is a JSON string or number, as text.
type identifier string

// UnmarshalJSON implements json.Unmarshaler.
func (i *identifier) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		*i = identifier(s)
		return nil
	}
	var n json.Number
	if json.Unmarshal(b, &n) != nil {
		return errors.New("user_id is neither text nor a number")
	}
	*i = identifier(n.String())
	return nil
}
