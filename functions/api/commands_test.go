package api_test

import (
	"context"
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
