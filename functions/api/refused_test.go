package api_test

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"cloudsession/functions/api"
	"cloudsession/shared/cloudstore"
)

func TestCommandIDs(t *testing.T) {
	w := newWorld(t)
	w.do("GET", "/cloud/commands/01KFJ4V7Z6ZB3Q8J6T1N5M2R9C").want(t, 404, `{"error":"Command not found","code":"command_not_found"}`)
	for _, id := range []string{
		"x", "01kfj4v7z6zb3q8j6t1n5m2r9c", "01KFJ4V7Z6ZB3Q8J6T1N5M2R9CX", "01KFJ4V7Z6ZB3Q8J6T1N5M2R9U",
		"81KFJ4V7Z6ZB3Q8J6T1N5M2R9C", "..", "%2F", strings.Repeat("A", 4000),
	} {
		w.do("GET", "/cloud/commands/"+id).wantProblem(t, 400, "invalid_command_id")
	}
}

func TestSyncRefused(t *testing.T) {
	dead := func(c *cloudstore.Connector) { c.Live, c.Dead = false, true }
	late := func(c *cloudstore.Connector) { c.Live = false }
	t.Run("unknown", func(t *testing.T) {
		w := newWorld(t)
		w.do("POST", "/cloud/sessions/a/sync").want(t, 404, `{"error":"Session not found","code":"session_not_found"}`)
	})
	t.Run("deleted and closed", func(t *testing.T) {
		w := newWorld(t)
		w.owners["a"] = cloudstore.Owner{SessionID: "a", Epoch: 3}
		w.do("POST", "/cloud/sessions/a/sync").wantProblem(t, 404, "session_not_found")
	})
	t.Run("in the cloud only", func(t *testing.T) {
		w := newWorld(t)
		w.add("a", "")
		w.connect("vm-1")
		w.do("POST", "/cloud/sessions/a/sync").wantProblem(t, 409, "session_not_open")
	})
	for name, change := range map[string]func(*cloudstore.Connector){"owner dead": dead, "owner late": late} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.add("a", "vm-1")
			w.connect("vm-1", change)
			w.connect("vm-2")
			w.do("POST", "/cloud/sessions/a/sync").wantProblem(t, 409, "session_not_open")
			if len(w.commands) != 0 {
				t.Error("a command was made")
			}
		})
	}
	t.Run("open but not in the cloud yet", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.owners["a"] = cloudstore.Owner{SessionID: "a", ConnectorID: "vm-1", Epoch: 1}
			w.connect("vm-1")
			w.finish(0, "done")
			w.do("POST", "/cloud/sessions/a/sync").want(t, 200, `{"status":"synced to cloud","sessionId":"a"}`)
		})
	})
}

func TestRestoreRefused(t *testing.T) {
	w := newWorld(t)
	w.do("POST", "/cloud/sessions/a/restore").want(t, 404, `{"error":"Session not found in cloud","code":"session_not_found"}`)
	w.add("a", "")
	w.do("POST", "/cloud/sessions/a/restore").wantProblem(t, 409, "no_live_connector")
	w.do("POST", "/cloud/sessions/a/restore", `{"connector":"vm-1"}`).wantProblem(t, 409, "connector_not_live")
	if len(w.commands) != 0 {
		t.Error("a command was made")
	}
}

func TestBodies(t *testing.T) {
	tests := []struct {
		name, contentType, body string
		restore, sync           int // statuses
		code                    string
	}{
		{"none", "", "", 202, 202, ""},
		{"none, typed", "application/json", "", 202, 202, ""},
		{"empty object", "application/json", "{}", 202, 202, ""},
		{"null", "application/json", " null\n", 202, 202, ""},
		{"untyped", "", "{}", 202, 202, ""},
		{"charset", "application/json; charset=UTF-8", "{}", 202, 202, ""},
		{"connector", "application/json", `{"connector":"vm-1"}`, 202, 400, "invalid_body"},
		{"connector null", "application/json", `{"connector":null}`, 202, 400, "invalid_body"},
		{"connector empty", "application/json", `{"connector":""}`, 400, 400, "invalid_body"},
		{"connector long", "application/json", `{"connector":"` + strings.Repeat("v", 256) + `"}`, 400, 400, "invalid_body"},
		{"connector number", "application/json", `{"connector":1}`, 400, 400, "invalid_body"},
		{"unknown field", "application/json", `{"conector":"vm-1"}`, 400, 400, "invalid_body"},
		{"long unknown field", "application/json", `{"` + strings.Repeat("x", 3000) + `":1}`, 400, 400, "invalid_body"},
		{"array", "application/json", `[]`, 400, 400, "invalid_body"},
		{"text", "application/json", `"vm-1"`, 400, 400, "invalid_body"},
		{"two objects", "application/json", `{}{}`, 400, 400, "invalid_body"},
		{"half", "application/json", `{"connector":`, 400, 400, "invalid_body"},
		{"not UTF-8", "application/json", "{\"connector\":\"\xff\"}", 400, 400, "invalid_body"},
		{"deep", "application/json", strings.Repeat(`{"a":`, 600), 400, 400, "invalid_body"},
		{"form", "application/x-www-form-urlencoded", "connector=vm-1", 415, 415, "unsupported_media_type"},
		{"latin1", "application/json; charset=latin1", "{}", 415, 415, "unsupported_media_type"},
		{"odd type", "application/", "{}", 415, 415, "unsupported_media_type"},
		{"largest", "application/json", "{" + strings.Repeat(" ", api.MaxBody-2) + "}", 202, 202, ""},
		{"too large", "application/json", "{" + strings.Repeat(" ", api.MaxBody-1) + "}", 413, 413, "body_too_large"},
		{"huge", "application/json", strings.Repeat("x", 8<<20), 413, 413, "body_too_large"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, func(o *api.Options) { o.Wait = -1 })
			w.add("a", "vm-1")
			w.connect("vm-1")
			for route, status := range map[string]int{"restore": tt.restore, "sync": tt.sync} {
				for _, sized := range []bool{true, false} {
					r := w.request("POST", "/cloud/sessions/a/"+route, tt.body)
					r.Header.Set("Content-Type", tt.contentType)
					if !sized {
						r.ContentLength, r.Body = -1, io.NopCloser(strings.NewReader(tt.body))
					}
					a := w.send(r)
					if a.status != status || status >= 400 && !strings.Contains(a.body, tt.code) {
						t.Errorf("%s, sized %v: %d %s", route, sized, a.status, a.body)
					}
				}
			}
		})
	}
	t.Run("names the unknown field", func(t *testing.T) {
		w := newWorld(t)
		w.do("POST", "/cloud/sessions/a/restore", `{"conector":"vm-1"}`).want(t, 400,
			`{"error":"The body has a field this route does not know: \"conector\"","code":"invalid_body"}`)
	})
	t.Run("huge bodies elsewhere", func(t *testing.T) {
		w := newWorld(t)
		for _, route := range api.Routes() {
			target := strings.NewReplacer("{sessionId}", "a", "{commandId}", "a").Replace(route.Path)
			w.do(route.Method, target, strings.Repeat("x", 1<<20)).wantProblem(t, 413, "body_too_large")
		}
	})
	t.Run("broken while read", func(t *testing.T) {
		w := newWorld(t)
		r := w.request("POST", "/cloud/sessions/a/sync")
		r.ContentLength, r.Body = -1, io.NopCloser(io.MultiReader(strings.NewReader("{"), brokenReader{}))
		w.send(r).wantProblem(t, 400, "invalid_body")
	})
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
