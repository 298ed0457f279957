package api_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudsession/functions/api"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/command"
)

// finish makes the queue a connector that takes d for every command.
func (w *world) finish(d time.Duration, state string, change ...func(*cloudstore.Command)) {
	w.queue.on = func(_ string, m command.Message) {
		time.AfterFunc(d, func() { w.move(m.CommandID, state, change...) })
	}
}

func failed(code string) func(*cloudstore.Command) {
	return func(c *cloudstore.Command) { c.ErrorCode, c.Error = code, "open /var/lib/x: dial 10.1.2.3" }
}

func TestSyncAndRestore(t *testing.T) {
	for _, tt := range []struct{ route, kind, body string }{
		{"/sync", "sync", `{"status":"synced to cloud","sessionId":"toko ☕"}`},
		{"/restore", "restore", `{"status":"restored from cloud","sessionId":"toko ☕"}`},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.add("toko ☕", "vm-2")
			w.connect("vm-1")
			w.connect("vm-2")
			w.finish(300*time.Millisecond, "done")
			start := time.Now()
			r := w.request("POST", path("toko ☕", tt.route))
			r.Header.Set("X-Request-Id", "req-1")
			w.send(r).want(t, 200, tt.body)
			if took := time.Since(start); took < 300*time.Millisecond || took > time.Second {
				t.Errorf("took %s", took)
			}
			c, err := w.only()
			if err != nil {
				t.Fatal(err)
			}
			want := cloudstore.Command{
				ID: c.ID, SessionID: "toko ☕", Kind: tt.kind, Args: []byte(`{}`), State: "done", ConnectorID: "vm-2",
				RequestedBy: "tester", RequestID: "req-1", CreatedAt: start.UTC(), Deadline: start.UTC().Add(5 * time.Minute),
			}
			if diff := cmp.Diff(want, c); diff != "" {
				t.Error(diff)
			}
			wantSent := []sent{{"queue of vm-2", command.Message{V: 1, CommandID: c.ID, SessionID: "toko ☕", Kind: tt.kind}}}
			if diff := cmp.Diff(wantSent, w.queue.messages()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestRowBeforeMessage: a connector that is quicker than the database must find the row.
func TestRowBeforeMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.add("a", "vm-1")
		w.connect("vm-1")
		w.queue.on = func(_ string, m command.Message) {
			if _, err := w.Command(t.Context(), m.CommandID); err != nil {
				t.Error(err)
			}
			w.move(m.CommandID, "done")
		}
		w.do("POST", "/cloud/sessions/a/sync").want(t, 200, `{"status":"synced to cloud","sessionId":"a"}`)
	})
}

func TestNotInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.add("a", "vm-1")
		w.connect("vm-1")
		start := time.Now()
		a := w.do("POST", "/cloud/sessions/a/sync")
		if took := time.Since(start); took != api.DefaultWait {
			t.Errorf("waited %s", took)
		}
		c, err := w.only()
		if err != nil {
			t.Fatal(err)
		}
		a.want(t, 202, `{"status":"queued","sessionId":"a","commandId":"`+c.ID+`"}`)
		if got := a.header.Get("Location"); got != "/cloud/commands/"+c.ID {
			t.Errorf("Location: %s", got)
		}
		if w.looks > 60 {
			t.Errorf("looked %d times in 20 s", w.looks)
		}

		// The same order again is the same command, announced again.
		w.do("POST", "/cloud/sessions/a/sync").want(t, 202, a.body)
		if n := len(w.queue.messages()); n != 2 {
			t.Errorf("%d messages", n)
		}

		created := `"createdAt":"` + start.UTC().Format(time.RFC3339) + `"`
		get := func(want string) { t.Helper(); w.do("GET", a.header.Get("Location")).want(t, 200, want) }
		head := func(state string) string {
			return `{"status":"` + state + `","sessionId":"a","commandId":"` + c.ID + `","kind":"sync",` + created
		}
		get(head("queued") + `,"startedAt":null,"finishedAt":null}`)
		began := start.Add(30*time.Second + 123*time.Millisecond)
		w.move(c.ID, "running", func(c *cloudstore.Command) { c.StartedAt = &began })
		get(head("running") + `,"startedAt":"` + began.UTC().Format(time.RFC3339) + `","finishedAt":null}`)
		w.move(c.ID, "done", func(c *cloudstore.Command) { c.FinishedAt = &began })
		get(head("done") + `,"startedAt":"` + began.UTC().Format(time.RFC3339) + `","finishedAt":"` + began.UTC().Format(time.RFC3339) + `"}`)

		// It is finished: the next order is a new one.
		w.finish(0, "done")
		w.do("POST", "/cloud/sessions/a/sync").want(t, 200, `{"status":"synced to cloud","sessionId":"a"}`)
		if len(w.commands) != 2 {
			t.Errorf("%d commands", len(w.commands))
		}
	})
}

// TestOwnerDies: the connector claims the command and is never heard of again;
// whoever takes over finishes it, within this request's time or later.
func TestOwnerDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.add("a", "vm-1")
		w.connect("vm-1")
		w.queue.on = func(_ string, m command.Message) {
			w.move(m.CommandID, "running", func(c *cloudstore.Command) { c.Incarnation = "old" })
			time.AfterFunc(15*time.Second, func() {
				w.move(m.CommandID, "done", func(c *cloudstore.Command) { c.ConnectorID, c.Incarnation = "vm-2", "new" })
			})
		}
		w.do("POST", "/cloud/sessions/a/restore").want(t, 200, `{"status":"restored from cloud","sessionId":"a"}`)

		w.queue.on = func(_ string, m command.Message) { w.move(m.CommandID, "running") }
		if a := w.do("POST", "/cloud/sessions/a/restore"); a.status != 202 {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
}

// TestQueueDown: the row stands, and a heartbeat finds it.
func TestQueueDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.add("a", "vm-1")
		w.connect("vm-1")
		w.queue.err = errQueueDown
		time.AfterFunc(3*time.Second, func() {
			c, err := w.only()
			if err != nil {
				t.Error(err)
			}
			w.move(c.ID, "done")
		})
		w.do("POST", "/cloud/sessions/a/sync").want(t, 200, `{"status":"synced to cloud","sessionId":"a"}`)
		if !strings.Contains(w.log.String(), "no such host") {
			t.Error("the log does not say that the queue is down")
		}
	})
}

// TestLooksFail: a database that is away while the request waits is no answer.
func TestLooksFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.add("a", "vm-1")
		w.connect("vm-1")
		w.finish(time.Second, "done")
		back := time.Now().Add(10 * time.Second)
		w.fail = func(op string) error {
			if op == "Command" && time.Now().Before(back) {
				return errDown
			}
			return nil
		}
		w.do("POST", "/cloud/sessions/a/sync").want(t, 200, `{"status":"synced to cloud","sessionId":"a"}`)

		back = time.Now().Add(time.Hour)
		if a := w.do("POST", "/cloud/sessions/a/sync"); a.status != 202 {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
}

// TestDeadline: a function answers before it is killed; a client that leaves ends the waiting.
func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.add("a", "vm-1")
		w.connect("vm-1")
		for _, tt := range []struct{ deadline, took time.Duration }{{10 * time.Second, 8 * time.Second}, {time.Minute, 20 * time.Second}} {
			ctx, cancel := context.WithTimeout(t.Context(), tt.deadline)
			start := time.Now()
			a := w.send(w.request("POST", "/cloud/sessions/a/sync").WithContext(ctx))
			if took := time.Since(start); a.status != 202 || took != tt.took {
				t.Errorf("%d after %s, want 202 after %s", a.status, took, tt.took)
			}
			cancel()
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		start := time.Now()
		w.send(w.request("POST", "/cloud/sessions/a/sync").WithContext(ctx))
		if took := time.Since(start); took != time.Second {
			t.Errorf("went on for %s after the client left", took)
		}
	})
}

func TestNoWait(t *testing.T) {
	w := newWorld(t, func(o *api.Options) { o.Wait = -1 })
	w.add("a", "vm-1")
	w.connect("vm-1")
	if a := w.do("POST", "/cloud/sessions/a/sync"); a.status != 202 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// TestCommandFails: every code a connector may give, at once and by polling.
func TestCommandFails(t *testing.T) {
	codes := api.CommandCodes()
	codes["internal"], codes[""], codes["something new"] = 503, 503, 503
	for code, status := range codes {
		for _, kind := range []string{"sync", "restore"} {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.add("a", "vm-1")
				w.connect("vm-1")
				w.finish(100*time.Millisecond, "failed", failed(code))
				a := w.do("POST", "/cloud/sessions/a/"+kind)
				shown := code
				if status == 503 && code != "unavailable" {
					shown = "command_failed"
				}
				a.wantProblem(t, status, shown)
				if code == "session_not_found" {
					want := map[string]string{"sync": "Session not found", "restore": "Session not found in cloud"}[kind]
					a.want(t, 404, `{"error":"`+want+`","code":"session_not_found"}`)
				}
				c, err := w.only()
				if err != nil {
					t.Fatal(err)
				}
				polled := w.do("GET", "/cloud/commands/"+c.ID)
				if polled.status != 200 || !strings.Contains(polled.body, strings.Trim(a.body, "{}")) || strings.Contains(polled.body, "10.1.2.3") {
					t.Errorf("polled: %d %s", polled.status, polled.body)
				}
			})
		}
	}
}

func TestCommandExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.add("a", "vm-1")
		w.connect("vm-1")
		w.finish(time.Second, "expired")
		w.do("POST", "/cloud/sessions/a/restore").wantProblem(t, 503, "command_expired")
	})
}

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

func TestChooseRestorer(t *testing.T) {
	c := func(id string, sessions, capacity int, flags ...string) cloudstore.Connector {
		k := cloudstore.Connector{ID: id, Live: true, Sessions: sessions, Capacity: capacity}
		for _, f := range flags {
			switch f {
			case "draining":
				k.Draining = true
			case "late":
				k.Live = false
			case "dead":
				k.Dead = true
			}
		}
		return k
	}
	tests := []struct {
		name         string
		all          []cloudstore.Connector
		owner, asked string // "" for none
		want         string // connector, or code of the problem
	}{
		{"nobody", nil, "", "", "no_live_connector"},
		{"least by share", []cloudstore.Connector{c("a", 4, 10), c("b", 30, 100), c("c", 5, 10)}, "", "", "b"},
		{"least by number", []cloudstore.Connector{c("b", 0, 10), c("a", 3, 0), c("c", 2, 0)}, "", "", "b"},
		{"tie", []cloudstore.Connector{c("b", 1, 10), c("a", 1, 10)}, "", "", "a"},
		{"late, dead and draining do not count", []cloudstore.Connector{c("a", 0, 9, "late"), c("b", 0, 9, "dead"), c("c", 0, 9, "draining"), c("d", 8, 9)}, "", "", "d"},
		{"only draining", []cloudstore.Connector{c("a", 0, 9, "draining")}, "", "", "no_live_connector"},
		{"all full", []cloudstore.Connector{c("a", 9, 9), c("b", 1, 1)}, "", "", "no_capacity"},
		{"owner, though busiest", []cloudstore.Connector{c("a", 9, 9), c("b", 0, 9)}, "a", "", "a"},
		{"owner dead", []cloudstore.Connector{c("a", 1, 9, "dead"), c("b", 5, 9)}, "a", "", "b"},
		{"owner gone", []cloudstore.Connector{c("b", 5, 9)}, "a", "", "b"},
		{"asked", []cloudstore.Connector{c("a", 1, 9), c("b", 5, 9)}, "", "b", "b"},
		{"asked is the owner", []cloudstore.Connector{c("a", 9, 9), c("b", 5, 9)}, "a", "a", "a"},
		{"asked, owner must let go first", []cloudstore.Connector{c("a", 1, 9), c("b", 5, 9)}, "a", "b", "a"},
		{"asked, owner dead", []cloudstore.Connector{c("a", 1, 9, "dead"), c("b", 5, 9)}, "a", "b", "b"},
		{"asked unknown", []cloudstore.Connector{c("a", 1, 9)}, "", "x", "connector_not_live"},
		{"asked late", []cloudstore.Connector{c("a", 1, 9), c("b", 1, 9, "late")}, "a", "b", "connector_not_live"},
		{"asked draining", []cloudstore.Connector{c("a", 1, 9), c("b", 1, 9, "draining")}, "a", "b", "connector_draining"},
		{"asked full", []cloudstore.Connector{c("a", 1, 9), c("b", 9, 9)}, "a", "b", "no_capacity"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var asked *string
			if tt.asked != "" {
				asked = &tt.asked
			}
			got, err := api.ChooseRestorer(tt.all, tt.owner, asked)
			if err != nil {
				status, code := api.Problem(err)
				if code != tt.want || status != http.StatusConflict {
					t.Errorf("%d %s, want %s", status, code, tt.want)
				}
				return
			}
			if got.ID != tt.want {
				t.Errorf("%s, want %s", got.ID, tt.want)
			}
		})
	}
}

// TestRestoreArgs: the target that was asked for travels in the row, whoever acts first.
func TestRestoreArgs(t *testing.T) {
	w := newWorld(t, func(o *api.Options) { o.Wait = -1 })
	w.add("a", "vm-1")
	w.connect("vm-1")
	w.connect("vm-2")
	for i, body := range []string{`{"connector":"vm-2"}`, `{}`, ``} {
		if a := w.do("POST", "/cloud/sessions/a/restore", body); a.status != 202 {
			t.Fatalf("%d: %d %s", i, a.status, a.body)
		}
	}
	var args []string
	for _, c := range w.commands {
		args = append(args, fmt.Sprintf("%s %s", c.ConnectorID, c.Args))
	}
	want := map[string]bool{`vm-1 {"connector":"vm-2"}`: true, `vm-1 {}`: true}
	for _, a := range args {
		if !want[a] {
			t.Errorf("row %s", a)
		}
	}
	if len(args) != len(want) {
		t.Errorf("%d rows: %s", len(args), args)
	}
}
