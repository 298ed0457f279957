package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"cloudsession/functions/api"
)

func TestList(t *testing.T) {
	w := newWorld(t)
	w.do("GET", "/cloud/sessions").want(t, 200, `{"sessions":[]}`)

	w.add("personal", "vm-1")
	w.add("never <synced> & \"old\"", "")
	s := w.sessions["never <synced> & \"old\""]
	s.LastSyncedAt = nil
	// Times come from the database in any zone, with fractions.
	s.CreatedAt = time.Date(2026, 1, 21, 21, 20, 10, 999, time.FixedZone("WIB", 7*3600))
	w.sessions[s.SessionID] = s
	w.do("GET", "/cloud/sessions").want(t, 200, `{"sessions":[`+
		`{"session_id":"never <synced> & \"old\"","last_synced_at":null,"created_at":"2026-01-21T14:20:10Z","updated_at":"2026-01-22T10:30:45Z"},`+
		`{"session_id":"personal","last_synced_at":"2026-01-22T10:30:45Z","created_at":"2026-01-20T08:15:30Z","updated_at":"2026-01-22T10:30:45Z"}]}`)
}

func TestListPages(t *testing.T) {
	w := newWorld(t)
	const n = 7
	for i := range n {
		w.add(fmt.Sprintf("toko ☕/%d?&=", i), "")
	}
	for _, limit := range []int{1, 2, 3, 6, 7, 8} {
		var seen []string
		target, pages := fmt.Sprintf("/cloud/sessions?limit=%d", limit), 0
		for target != "" {
			var page struct {
				Sessions []struct {
					ID string `json:"session_id"`
				} `json:"sessions"`
				Next *string `json:"next_cursor"`
			}
			a := w.do("GET", target)
			if err := json.Unmarshal([]byte(a.body), &page); err != nil || a.status != 200 {
				t.Fatalf("%d %s: %v", a.status, a.body, err)
			}
			for _, s := range page.Sessions {
				seen = append(seen, s.ID)
			}
			target = ""
			if page.Next != nil {
				target = fmt.Sprintf("/cloud/sessions?limit=%d&cursor=%s", limit, url.QueryEscape(*page.Next))
			}
			if pages++; pages > n {
				t.Fatal("the pages have no end")
			}
		}
		if len(seen) != n || pages != (n+limit-1)/limit {
			t.Errorf("limit %d: %d sessions on %d pages", limit, len(seen), pages)
		}
	}
}

// goodCursor is one of the fake's, behind every session.
var goodCursor = fakeCursor("~")

func TestListQuery(t *testing.T) {
	w := newWorld(t)
	for query, code := range map[string]string{
		"limit=0": "invalid_limit", "limit=501": "invalid_limit", "limit=-1": "invalid_limit", "limit=": "invalid_limit",
		"limit=1e2": "invalid_limit", "limit=+5": "invalid_limit", "limit=05": "invalid_limit", "limit=5&limit=6": "invalid_limit",
		"limit=99999999999999999999": "invalid_limit",
		"cursor=":                    "invalid_cursor", "cursor=x": "invalid_cursor", "cursor=" + goodCursor + "&cursor=" + goodCursor: "invalid_cursor",
		"cursor=" + strings.Repeat("c", 4097): "invalid_cursor",
		"limit=%zz":                           "invalid_query", "a;b": "invalid_query",
	} {
		a := w.do("GET", "/cloud/sessions?"+query)
		a.wantProblem(t, 400, code)
	}
	w.do("GET", "/cloud/sessions?limit=500&other=1").want(t, 200, `{"sessions":[]}`)
	w.do("GET", "/cloud/sessions?cursor="+goodCursor).want(t, 200, `{"sessions":[]}`)
}

func TestStatus(t *testing.T) {
	w := newWorld(t)
	w.do("GET", "/cloud/sessions/personal/status").want(t, 404, `{"error":"Session not found in cloud","code":"session_not_found"}`)

	w.add("business", "")
	w.do("GET", "/cloud/sessions/business/status").want(t, 200, `{"sessionId":"business","lastSynced":"2026-01-22T10:30:45Z",`+
		`"createdAt":"2026-01-20T08:15:30Z","updatedAt":"2026-01-22T10:30:45Z"}`)

	w.add("personal", "vm-1")
	s := w.sessions["personal"]
	s.LastSyncedAt, s.State, s.StateDetail, s.Start, s.Backup = nil, "connected", "secret detail", "own-file", "full"
	w.sessions["personal"] = s
	w.do("GET", "/cloud/sessions/personal/status").want(t, 200, `{"sessionId":"personal","lastSynced":null,`+
		`"createdAt":"2026-01-20T08:15:30Z","updatedAt":"2026-01-22T10:30:45Z",`+
		`"state":"connected","connector":"vm-1","live":false,"start":"own-file","backup":"full"}`)

	s.State, s.StateDetail = "logged_out", "pair it again"
	w.sessions["personal"] = s
	w.do("GET", "/cloud/sessions/personal/status").want(t, 200, `{"sessionId":"personal","lastSynced":null,`+
		`"createdAt":"2026-01-20T08:15:30Z","updatedAt":"2026-01-22T10:30:45Z",`+
		`"state":"logged_out","stateDetail":"pair it again","connector":"vm-1","live":false,"start":"own-file","backup":"full"}`)
}

func TestDelete(t *testing.T) {
	w := newWorld(t)
	w.add("personal", "")
	w.do("DELETE", "/cloud/sessions/personal").want(t, 200, `{"status":"deleted from cloud","sessionId":"personal"}`)
	w.do("DELETE", "/cloud/sessions/personal").want(t, 404, `{"error":"Session not found in cloud","code":"session_not_found"}`)
}

// TestSessionIDs sends ids of every kind through a path and finds them again.
func TestSessionIDs(t *testing.T) {
	good := []string{
		"personal", "toko ☕", "a b", "..", ".", "../../etc/passwd", "a/b", "/", "a%2Fb", "100%", "%", "?x=1#y", "a+b", "a&b=c",
		"日本語", "é", "e\u0301", "\U0001F1EE\U0001F1E9", "'; DROP TABLE x; --", `"quoted"\`, "a:b;c,d", "status", "sync",
		strings.Repeat("a", 255), strings.Repeat("☕", 255),
	}
	bad := map[string]string{
		"256 characters":      strings.Repeat("a", 256),
		"256 wide characters": strings.Repeat("☕", 256),
		"nul":                 "a%00b",
		"newline":             "a%0Ab",
		"escape":              "%1B[31m",
		"not UTF-8":           "%FF%FE",
		"half a character":    "%E2%98",
		"delete":              "%7F",
	}
	w := newWorld(t)
	for _, id := range good {
		t.Run(fmt.Sprintf("%.20q", id), func(t *testing.T) {
			w.add(id, "")
			want, err := json.Marshal(id)
			if err != nil {
				t.Fatal(err)
			}
			var got struct {
				SessionID string `json:"sessionId"`
			}
			a := w.do("GET", path(id, "/status"))
			if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != 200 || got.SessionID != id {
				t.Errorf("status: %d %s, want %s", a.status, a.body, want)
			}
			w.do("GET", path(id+"x", "/status")).wantProblemUnlessLong(t, id)
			if a := w.do("DELETE", path(id, "")); a.status != 200 {
				t.Errorf("delete: %d %s", a.status, a.body)
			}
		})
	}
	for name, escaped := range bad {
		t.Run(name, func(t *testing.T) {
			for _, route := range api.Routes() {
				if !strings.Contains(route.Path, "{sessionId}") {
					continue
				}
				a := w.do(route.Method, strings.Replace(route.Path, "{sessionId}", escaped, 1))
				a.wantProblem(t, 400, "invalid_session_id")
			}
		})
	}
}

func (a answer) wantProblemUnlessLong(t *testing.T, id string) {
	t.Helper()
	if len([]rune(id)) < 255 {
		a.wantProblem(t, 404, "session_not_found")
	} else {
		a.wantProblem(t, 400, "invalid_session_id")
	}
}

// TestPaths: what is no route is 404 and what is another method is 405, token or not.
func TestPaths(t *testing.T) {
	w := newWorld(t)
	for _, target := range []string{
		"/", "/cloud", "/cloud/", "/cloud/sessions/", "/cloud/sessions//status", "/cloud/sessions/a/", "/cloud/sessions/a/b",
		"/cloud/sessions/a/status/", "/cloud/commands", "/cloud/commands/", "/Cloud/sessions", "//cloud/sessions", "/cloud/sessions/a/b/status",
		"/cloud/sessions/a/../b/status",
	} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", target, nil)
		w.send(r).want(t, 404, `{"error":"No such route","code":"not_found"}`)
	}
	for _, route := range api.Routes() {
		target := strings.NewReplacer("{sessionId}", "a", "{commandId}", "a").Replace(route.Path)
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW", "get"} {
			if method == route.Method {
				continue
			}
			r := httptest.NewRequestWithContext(t.Context(), method, target, nil)
			a := w.send(r)
			a.wantProblem(t, 405, "method_not_allowed")
			if got := a.header.Get("Allow"); got != route.Method {
				t.Errorf("%s %s: Allow: %s, want %s", method, target, got, route.Method)
			}
		}
	}
}

// TestOnly: a function serves its own route, and the others are no routes at all.
func TestOnly(t *testing.T) {
	for _, own := range api.Routes() {
		w := newWorld(t, func(o *api.Options) { o.Only = own.Name })
		w.add("a", "")
		for _, other := range api.Routes() {
			r := w.request(other.Method, strings.NewReplacer("{sessionId}", "a", "{commandId}", "a").Replace(other.Path))
			rec := httptest.NewRecorder()
			w.api.ServeHTTP(rec, r)
			served := !strings.Contains(rec.Body.String(), `"not_found"`) && rec.Code != 405
			if served != (own.Name == other.Name) {
				t.Errorf("%s asked for %s: %d %s", own.Name, other.Name, rec.Code, rec.Body)
			}
		}
	}
}

func TestNewWants(t *testing.T) {
	auth, err := api.NewAuth(api.AuthConfig{Secret: []byte(testSecret)})
	if err != nil {
		t.Fatal(err)
	}
	f := newFakeCloud()
	for text, o := range map[string]api.Options{
		"no route":                      {Only: "list", Sessions: f, Auth: auth},
		"no authentication":             {Only: "list-sessions", Sessions: f},
		"needs the sessions":            {Only: "list-sessions", Auth: auth},
		"needs the commands":            {Only: "command-status", Auth: auth},
		"sync-session needs a queue":    {Only: "sync-session", Sessions: f, Commands: f, Auth: auth},
		"restore-session needs a queue": {Only: "restore-session", Sessions: f, Commands: f, Auth: auth},
	} {
		if _, err := api.New(o); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("got %v, want %q", err, text)
		}
	}
	if _, err := api.New(api.Options{Only: "command-status", Commands: f, Auth: auth}); err != nil {
		t.Error(err)
	}
}

// TestFaults puts every operation of the store out of order, in every route, in
// both ways, and looks at what the caller is told.
func TestFaults(t *testing.T) {
	type fault struct {
		err    error
		status int
		code   string
	}
	faults := map[string]fault{
		"slow":   {errDown, 503, "unavailable"},
		"gone":   {fmt.Errorf("dial 10.1.2.3: %w", io.ErrUnexpectedEOF), 503, "unavailable"},
		"broken": {errors.New("Error 1054 (42S22): Unknown column 'x' dial 10.1.2.3"), 500, "internal_error"},
	}
	operations := map[string][]string{
		"list-sessions":   {"ListSelected"},
		"session-status":  {"SessionStatus"},
		"sync-session":    {"Owner", "Connectors", "CreateCommand"},
		"restore-session": {"SessionStatus", "Owner", "Connectors", "CreateCommand"},
		"delete-session":  {"DeleteSession"},
		"command-status":  {"Command"},
	}
	for _, route := range api.Routes() {
		for _, op := range operations[route.Name] {
			for name, f := range faults {
				t.Run(route.Name+"/"+op+" "+name, func(t *testing.T) {
					w := newWorld(t)
					w.add("a", "vm-1")
					w.connect("vm-1")
					w.fail = func(o string) error {
						if o == op {
							return f.err
						}
						return nil
					}
					target := strings.NewReplacer("{sessionId}", "a", "{commandId}", "01KFJ4V7Z6ZB3Q8J6T1N5M2R9C").Replace(route.Path)
					w.do(route.Method, target).wantProblem(t, f.status, f.code)
					if !strings.Contains(w.log.String(), f.err.Error()[:10]) {
						t.Error("the log does not say why")
					}
				})
			}
		}
	}
	t.Run("panic", func(t *testing.T) {
		w := newWorld(t)
		w.fail = func(string) error { panic("dial 10.1.2.3") }
		w.do("GET", "/cloud/sessions").wantProblem(t, 500, "internal_error")
	})
}

func TestHeaders(t *testing.T) {
	w := newWorld(t)
	for sent, kept := range map[string]bool{
		"abc-123_X.y=": true, "Root=1-5e1b4151-5ac6c58": true, strings.Repeat("a", 64): true,
		"": false, strings.Repeat("a", 65): false, "a b": false, "a\"b": false, "☕": false,
	} {
		r := w.request("GET", "/cloud/sessions")
		r.Header.Set("X-Request-Id", sent)
		got := w.send(r).header.Get("X-Request-Id")
		if (got == sent) != kept || got == "" {
			t.Errorf("sent %q, got %q", sent, got)
		}
	}
	a := w.do("GET", "/cloud/sessions")
	for name, want := range map[string]string{
		"Content-Type": "application/json; charset=utf-8", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
		"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
	} {
		if got := a.header.Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
}
