package api_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"testing"

	"cloudsession/functions/api"
	"cloudsession/shared/cloudstore"
)

// FuzzPath: every path is answered as described, and every session id that can
// be put into a path comes out as it went in.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"personal", "toko ☕", "..", "a/b", "%2F", "%", "?", "#", "\x00", "\xff", "a%zz", "//", "a/status"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		w := newWorld(t)
		if param, ok, err := api.MatchPath("/cloud/sessions/{sessionId}/status", "/cloud/sessions/"+url.PathEscape(s)+"/status"); s != "" && (err != nil || !ok || param != s) {
			t.Errorf("%q became %q, %v, %v", s, param, ok, err)
		}
		// The id as it should be sent.
		w.add(s, "")
		a := w.send(rawPath(w, "/cloud/sessions/"+url.PathEscape(s)+"/status"))
		valid := cloudstore.ValidateSessionID(s) == nil
		var got struct {
			SessionID string `json:"sessionId"`
		}
		if err := json.Unmarshal([]byte(a.body), &got); err != nil {
			t.Fatal(err)
		}
		if valid && (a.status != 200 || got.SessionID != s) || !valid && a.status != 400 && a.status != 404 {
			t.Errorf("%q: %d %s", s, a.status, a.body)
		}
		// The same text as a path that nobody escaped.
		w.send(rawPath(w, "/cloud/sessions/"+s+"/status"))
	})
}

// rawPath makes a request whose path is as given, even where no URL parser would have it.
func rawPath(w *world, escaped string) *http.Request {
	r := w.request("GET", "/")
	path, err := url.PathUnescape(escaped)
	if err != nil {
		path = escaped
	}
	r.URL = &url.URL{Path: path, RawPath: escaped}
	return r
}

// FuzzQuery: every query is answered as described.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{"", "limit=5", "cursor=61", "limit=5&cursor=6162", "%zz", "limit=%35", "cursor=6", "a;b", "&&", "limit"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		w := newWorld(t)
		w.add("a", "")
		r := w.request("GET", "/cloud/sessions")
		r.URL.RawQuery = s
		if a := w.send(r); a.status != 200 && a.status != 400 {
			t.Errorf("%q: %d %s", s, a.status, a.body)
		}
	})
}

// FuzzBody: every body of a restore is answered as described.
func FuzzBody(f *testing.F) {
	for _, s := range []string{"", "{}", "null", `{"connector":"vm-1"}`, `{"Connector":"vm-1"}`, `{"connector":"vm-1","connector":null}`, "[", "\xff"} {
		f.Add(s, "application/json")
	}
	f.Add("connector=vm-1", "application/x-www-form-urlencoded")
	f.Fuzz(func(t *testing.T, body, contentType string) {
		w := newWorld(t, func(o *api.Options) { o.Wait = -1 })
		w.add("a", "vm-1")
		w.connect("vm-1")
		r := w.request("POST", "/cloud/sessions/a/restore", body)
		r.Header.Set("Content-Type", contentType)
		a := w.send(r)
		if !slices.Contains([]int{202, 400, 409, 413, 415}, a.status) {
			t.Errorf("%q: %d %s", body, a.status, a.body)
		}
	})
}

// FuzzToken: no text is a token but the one that was signed.
func FuzzToken(f *testing.F) {
	f.Add("Bearer x")
	f.Add("Bearer eyJhbGciOiJub25lIn0.eyJzY29wZSI6InNlc3Npb25zOnJlYWQiLCJleHAiOjk5OTk5OTk5OTl9.")
	f.Add("bearer  a.b.c")
	f.Fuzz(func(t *testing.T, s string) {
		w := newWorld(t)
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/cloud/sessions", nil)
		r.Header["Authorization"] = []string{s}
		if a := w.send(r); a.status != 401 {
			t.Errorf("%q: %d", s, a.status)
		}
	})
}
