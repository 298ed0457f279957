package api_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"cloudsession/functions/api"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/command"
)

// limited is a token for everything, with this claim "sessions".
func limited(t *testing.T, sessions any) string {
	t.Helper()
	return sign(t, jwt.SigningMethodHS256, []byte(testSecret), jwt.MapClaims{
		"sub": "tenant", "scope": api.ScopeRead + " " + api.ScopeWrite, "exp": inAnHour(), "sessions": sessions,
	})
}

func (w *world) doAs(token, method, target string) answer {
	w.t.Helper()
	r := w.request(method, target)
	r.Header.Set("Authorization", "Bearer "+token)
	return w.send(r)
}

// TestSessionClaim: a limited token works on its sessions as any does; of others
// it learns nothing, not even whether they exist.
func TestSessionClaim(t *testing.T) {
	w := newWorld(t)
	w.connect("vm-1")
	for _, id := range []string{"acme-1", "acme-2", "personal", "other", "acme"} {
		w.add(id, "vm-1")
	}
	w.queue.on = func(_ string, m command.Message) { w.move(m.CommandID, cloudstore.CommandDone) }
	token := limited(t, []string{"acme-*", "personal"})
	orders := []struct{ method, what string }{{"GET", "/status"}, {"POST", "/sync"}, {"POST", "/restore"}, {"DELETE", ""}}
	const refusal = `{"error":"The token is not good for this session","code":"forbidden"}`
	for _, o := range orders {
		for _, id := range []string{"other", "acme", "nobody", "Personal", "personal2"} { // some exist
			w.doAs(token, o.method, path(id, o.what)).want(t, 403, refusal)
		}
	}
	if len(w.commands) > 0 || len(w.queue.messages()) > 0 || len(w.sessions) != 5 {
		t.Error("a refused order did something")
	}
	for _, o := range orders {
		for _, id := range []string{"acme-1", "personal"} {
			if a := w.doAs(token, o.method, path(id, o.what)); a.status != 200 {
				t.Errorf("%s %s%s: %d %s", o.method, id, o.what, a.status, a.body)
			}
		}
	}
	w.doAs(token, "GET", path("acme-9", "/status")).wantProblem(t, 404, "session_not_found")
}

func TestSessionClaimOfCommands(t *testing.T) {
	w := newWorld(t, func(o *api.Options) { o.Wait = -1 })
	w.connect("vm-1")
	w.add("personal", "vm-1")
	if a := w.do("POST", "/cloud/sessions/personal/sync"); a.status != http.StatusAccepted {
		t.Fatal(a.body)
	}
	c, err := w.only()
	if err != nil {
		t.Fatal(err)
	}
	foreign := w.doAs(limited(t, []string{"toko"}), "GET", "/cloud/commands/"+c.ID)
	unknown := w.doAs(limited(t, []string{"toko"}), "GET", "/cloud/commands/01KFJ4V7Z6ZB3Q8J6T1N5M2R9C")
	if foreign.status != 404 || foreign.body != unknown.body {
		t.Errorf("another session's command: %d %s, one that isn't: %d %s", foreign.status, foreign.body, unknown.status, unknown.body)
	}
	if a := w.doAs(limited(t, []string{"pers*"}), "GET", "/cloud/commands/"+c.ID); a.status != 200 {
		t.Errorf("its own: %d %s", a.status, a.body)
	}
}

func TestSessionClaimOfList(t *testing.T) {
	w := newWorld(t)
	for i := range 9 {
		w.add(fmt.Sprintf("%c-%d", "abc"[i%3], i), "")
	}
	token := limited(t, []string{"b-*", "c-2"})
	var seen []string
	for target := "/cloud/sessions?limit=2"; target != ""; {
		a := w.doAs(token, "GET", target)
		for part := range strings.SplitSeq(a.body, `"session_id":"`) {
			if id, _, ok := strings.Cut(part, `"`); ok && strings.Contains(id, "-") {
				seen = append(seen, id)
			}
		}
		_, next, _ := strings.Cut(a.body, `"next_cursor":"`)
		if target = ""; next != "" {
			target = "/cloud/sessions?limit=2&cursor=" + url.QueryEscape(strings.TrimSuffix(next, `"}`))
		}
	}
	if got := strings.Join(seen, " "); got != "b-1 b-4 b-7 c-2" {
		t.Errorf("listed %s", got)
	}
	w.doAs(limited(t, []string{}), "GET", "/cloud/sessions").want(t, 200, `{"sessions":[]}`)
}

// TestSessionClaimForms: what is not a selection is no wide token.
func TestSessionClaimForms(t *testing.T) {
	w := newWorld(t)
	w.add("personal", "")
	for name, test := range map[string]struct {
		claim  any
		status int
	}{
		"its id":          {[]string{"personal"}, 200},
		"all":             {[]string{"*"}, 200},
		"none":            {[]string{}, 403},
		"another":         {[]string{"business"}, 403},
		"another's start": {[]string{"personal-*"}, 403},
		"text":            {"personal", 401},
		"star as text":    {"*", 401},
		"null":            {nil, 401},
		"true":            {true, 401},
		"number":          {1, 401},
		"object":          {map[string]bool{"personal": true}, 401},
		"null in it":      {[]any{"personal", nil}, 401},
		"number in it":    {[]any{"personal", 1}, 401},
		"list in it":      {[]any{[]string{"personal"}}, 401},
		"empty id":        {[]string{"personal", ""}, 401},
		"control":         {[]string{"personal", "a\n*"}, 401},
		"too many":        {strings.Fields(strings.Repeat("personal ", cloudstore.MaxPatterns+1)), 401},
	} {
		if a := w.doAs(limited(t, test.claim), "GET", "/cloud/sessions/personal/status"); a.status != test.status {
			t.Errorf("%s: %d %s, want %d", name, a.status, a.body, test.status)
		}
	}
	// Roles give scopes; the claim limits them all the same.
	admin := sign(t, jwt.SigningMethodHS256, []byte(testSecret), jwt.MapClaims{"role": "admin", "exp": inAnHour(), "sessions": []string{"business"}})
	w.doAs(admin, "GET", "/cloud/sessions/personal/status").wantProblem(t, 403, "forbidden")
}

// TestTooManyCommands: one caller's unfinished commands are bounded; the others'
// are not touched by it, and a request that is repeated is answered as before.
func TestTooManyCommands(t *testing.T) {
	w := newWorld(t, func(o *api.Options) { o.Wait = -1 })
	w.connect("vm-1")
	for i := range api.MaxUnfinished + 1 {
		w.add(fmt.Sprint(i), "vm-1")
	}
	for i := range api.MaxUnfinished {
		if a := w.do("POST", fmt.Sprintf("/cloud/sessions/%d/sync", i)); a.status != http.StatusAccepted {
			t.Fatalf("%d: %d %s", i, a.status, a.body)
		}
	}
	last := fmt.Sprintf("/cloud/sessions/%d/sync", api.MaxUnfinished)
	a := w.do("POST", last)
	a.wantProblem(t, http.StatusTooManyRequests, "too_many_commands")
	if a.header.Get("Retry-After") == "" {
		t.Error("429 without Retry-After")
	}
	if a := w.do("POST", "/cloud/sessions/0/sync"); a.status != http.StatusAccepted {
		t.Errorf("the same again: %d %s", a.status, a.body)
	}
	if a := w.doAs(limited(t, []string{"*"}), "POST", last); a.status != http.StatusAccepted {
		t.Errorf("another caller: %d %s", a.status, a.body)
	}
}
