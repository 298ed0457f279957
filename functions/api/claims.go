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
// 4.2) or an array of words. The Node service's tokens, which are signed with the
// secret, have no scope but "role" or "roles": the role "admin" then stands for both
// scopes, any other role for none. What an identity provider calls a role means
// nothing here. A token with neither opens nothing. Where "scope" is present roles do
// not count, so that an administrator can hand out narrow tokens; null is no scope
// and makes the token invalid.
//
// The claim "sessions" limits a token to some sessions: an array of session ids
// and of beginnings of ids with a "*" behind them (cloudstore.ParseSelection has
// the rules). Without it the token is good for all sessions; an empty array is
// good for none. A claim of another form, also null, makes the token invalid: one
// that was meant to be narrow must not be taken for a wide one.
type claims struct {
	jwt.RegisteredClaims
	Scope  scope      `json:"scope"`
	Role   texts      `json:"role"`
	Roles  texts      `json:"roles"`
	UserID identifier `json:"user_id"`
	Email  string     `json:"email"`

	Sessions selection `json:"sessions"`
}

// caller is who the token speaks for. roles says that it is the secret's, whose roles
// count.
func (c *claims) caller(roles bool) Caller {
	caller := Caller{Subject: c.Subject, Sessions: c.Sessions.Selection}
	if caller.Subject == "" {
		caller.Subject = string(c.UserID)
	}
	if caller.Subject == "" {
		caller.Subject = c.Email
	}
	switch {
	case c.Scope.present:
		caller.Scopes = c.Scope.words
	case roles && (slices.Contains(c.Role, roleAdmin) || slices.Contains(c.Roles, roleAdmin)):
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

// scope is texts, each split at spaces.
type scope struct {
	present bool
	words   []string
}

// UnmarshalJSON implements json.Unmarshaler. It is called for null, too.
func (s *scope) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return errors.New("scope is null")
	}
	var t texts
	if err := t.UnmarshalJSON(b); err != nil {
		return err
	}
	*s = scope{true, strings.Fields(strings.Join(t, " "))}
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
