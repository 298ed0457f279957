package e2e

import (
	"net/http"
	"strings"
	"testing"
)

// A token that was minted for some sessions moves and reads those; the rest of the
// system does not exist for it.
func TestTokenOfSomeSessions(t *testing.T) {
	s := newScene(t)
	c := s.paired("c")
	other := newScene(t)
	elsewhere := other.paired("elsewhere")

	mint := c.Command(s.ctx, "token", "--subject", "tenant", "--session", s.session)
	mint.Env = append(mint.Env, "JWT_SECRET="+world.Stack.JWTSecret())
	out, err := mint.Output()
	s.must(err)
	token := strings.TrimSpace(string(out))
	call := func(of *scene, status int, method, what string) string {
		t.Helper()
		resp, err := world.APIAs(s.ctx, token, method, of.path(what), nil)
		for ; err == nil && later(resp.Status); resp, err = world.APIAs(s.ctx, token, method, of.path(what), nil) {
			s.pause()
		}
		s.must(err)
		if resp.Status != status {
			t.Errorf("%s %s: %d %s, want %d", method, of.path(what), resp.Status, resp.Body, status)
		}
		return string(resp.Body)
	}
	list := func() string {
		t.Helper()
		resp, err := world.APIAs(s.ctx, token, http.MethodGet, "/cloud/sessions", nil)
		s.must(err)
		return string(resp.Body)
	}
	s.wait("both sessions to be in the cloud", func() bool {
		resp, err := world.API(s.ctx, http.MethodGet, other.path("/status"), nil)
		return err == nil && resp.Status == http.StatusOK && strings.Contains(list(), s.session)
	})
	if body := list(); strings.Count(body, `"session_id"`) != 1 || strings.Contains(body, "next_cursor") {
		t.Errorf("listed %s", body)
	}
	call(s, http.StatusOK, http.MethodGet, "/status")
	call(s, http.StatusOK, http.MethodPost, "/sync")
	call(s, http.StatusOK, http.MethodPost, "/restore")
	s.talk(c)

	unknown := &scene{session: "nobody"}
	for _, order := range [][2]string{{http.MethodGet, "/status"}, {http.MethodPost, "/sync"}, {http.MethodPost, "/restore"}, {http.MethodDelete, ""}} {
		there, notThere := call(other, http.StatusForbidden, order[0], order[1]), call(unknown, http.StatusForbidden, order[0], order[1])
		if there != notThere || !strings.Contains(there, `"forbidden"`) {
			t.Errorf("%s%s tells whether the session exists: %s, %s", order[0], order[1], there, notThere)
		}
	}
	other.talk(elsewhere)
}
