package functions_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/oklog/ulid/v2"

	"cloudsession/functions/api"
	"cloudsession/functions/api/apitest"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/command"
	"cloudsession/shared/devtoken"
)

// insert writes a credentials row as the Node service does.
func insert(t *testing.T, c cloudstore.Config, id string) {
	t.Helper()
	m := mysql.NewConfig()
	m.Net, m.Addr = "tcp", net.JoinHostPort(c.Host, strconv.Itoa(c.Port))
	m.User, m.Passwd, m.DBName = c.User, c.Password, c.Database
	db, err := sql.Open("mysql", m.FormatDSN())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := db.ExecContext(t.Context(), "INSERT INTO whatsapp_sessions (session_id, session_data) VALUES (?, ?)", id, "00:00"); err != nil {
		t.Fatal(err)
	}
}

// knocks is a queue in memory.
type knocks chan command.Message

func (k knocks) Send(_ context.Context, url string, m command.Message) error {
	if url != "queue" {
		return fmt.Errorf("no queue %q", url)
	}
	k <- m
	return nil
}

// serve starts the API over a store and returns a way to call it, every
// response checked against openapi.yaml. A call is repeated while the database
// is too slow for the API.
func serve(t *testing.T, store *cloudstore.Store, queue api.Sender) func(method, path, body string) (int, string) {
	t.Helper()
	auth, err := api.NewAuth(api.AuthConfig{Secret: []byte(jwtSecret)})
	if err != nil {
		t.Fatal(err)
	}
	h, err := api.New(api.Options{
		Sessions: store, Commands: store, Queue: queue, Auth: auth, Wait: 10 * time.Minute,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	checker, err := apitest.New()
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: checker.Transport(server.Client().Transport)}
	token, err := devtoken.Mint([]byte(jwtSecret), "tester", []string{devtoken.ScopeRead, devtoken.ScopeWrite}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	once := func(method, path, body string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(res.Body)
		if err := errors.Join(err, res.Body.Close()); err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(got)
	}
	return func(method, path, body string) (status int, got string) {
		t.Helper()
		patiently(func() int {
			status, got = once(method, path, body)
			return status
		})
		return status, got
	}
}

// patiently asks again while the answer is that the database can't be reached:
// the API gives it less time than a busy machine may take.
func patiently(ask func() (status int)) {
	for late := time.Now().Add(slowestRun); ask() == http.StatusServiceUnavailable && time.Now().Before(late); {
	}
}

// connector is the least a connector is: it has a lease and a session.
type connector struct {
	t               *testing.T
	store           *cloudstore.Store
	id, incarnation string
}

func connect(t *testing.T, store *cloudstore.Store, id string) *connector {
	t.Helper()
	c := &connector{t, store, id, ulid.Make().String()}
	err := store.RegisterConnector(t.Context(), cloudstore.Connector{
		ID: id, Incarnation: c.incarnation, QueueURL: "queue", Version: "test", Capacity: 10,
	}, "", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *connector) take(id string) {
	c.t.Helper()
	r := cloudstore.TakeRequest{
		SessionID: id, ConnectorID: c.id, Incarnation: c.incarnation, Reason: "test", MayCreate: true,
		Judge: func(context.Context, cloudstore.Parent) (string, error) { return "safe", nil },
	}
	if _, err := rand.Read(r.Nonce[:]); err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.store.Take(c.t.Context(), r); err != nil {
		c.t.Fatal(err)
	}
}

// work does what the messages say until the channel is closed.
func (c *connector) work(queue knocks, do func(cloudstore.Command) error) *sync.WaitGroup {
	var wg sync.WaitGroup
	wg.Go(func() {
		for m := range queue {
			row, ok, err := c.store.ClaimCommand(c.t.Context(), m.CommandID, c.id, c.incarnation)
			if err != nil {
				c.t.Errorf("claim: %v", err)
			}
			if !ok {
				continue
			}
			if err := do(row); err != nil {
				c.t.Error(err)
			}
		}
	})
	return &wg
}

func TestCommandsOnEngine(t *testing.T) {
	const id = "toko ☕/pusat"
	_, store := seeded(t, id)
	queue := make(knocks, 16)
	call := serve(t, store, queue)
	status := "/cloud/sessions/" + url.PathEscape(id)
	quoted, err := json.Marshal(id)
	if err != nil {
		t.Fatal(err)
	}
	expect := func(method, path, body string, want int, part string) string {
		t.Helper()
		got, text := call(method, path, body)
		if got != want || !strings.Contains(text, part) {
			t.Errorf("%s %s: %d %s, want %d %s", method, path, got, text, want, part)
		}
		return text
	}

	expect("POST", status+"/sync", "", 409, "session_not_open")
	expect("POST", status+"/restore", "", 409, "no_live_connector")
	expect("POST", "/cloud/sessions/nobody/sync", "", 404, `"Session not found"`)

	vm1 := connect(t, store, "vm-1")
	fail := ""
	wg := vm1.work(queue, func(c cloudstore.Command) error {
		if c.Kind == "restore" {
			if o, err := store.Owner(t.Context(), c.SessionID); errors.Is(err, cloudstore.ErrNotFound) || o.ConnectorID == "" {
				vm1.take(c.SessionID)
			}
		}
		return store.FinishCommand(t.Context(), c.ID, vm1.incarnation, fail == "", fail, "open /secret", nil)
	})
	expect("POST", status+"/restore", "", 200, `{"status":"restored from cloud","sessionId":`+string(quoted)+`}`)
	expect("POST", status+"/sync", "", 200, `{"status":"synced to cloud","sessionId":`+string(quoted)+`}`)
	expect("GET", status+"/status", "", 200, `"connector":"vm-1","live":true,"start":"safe"`)
	expect("POST", status+"/restore", `{"connector":"vm-1"}`, 200, "restored")
	expect("POST", status+"/restore", `{"connector":"vm-9"}`, 409, "connector_not_live")
	fail = "logged_out"
	expect("POST", status+"/restore", "", 409, "logged_out")
	close(queue)
	wg.Wait()

	if err := store.RetireConnector(t.Context(), "vm-1", vm1.incarnation); err != nil {
		t.Fatal(err)
	}
	expect("POST", status+"/sync", "", 409, "session_not_open")
	expect("DELETE", status, "", 200, `{"status":"deleted from cloud","sessionId":`+string(quoted)+`}`)
	expect("DELETE", status, "", 404, "session_not_found")
	expect("GET", status+"/status", "", 404, "session_not_found")
}

// TestOneCommandOnEngine: many identical requests at once are one command, until
// that is claimed. A sync that comes later is carried out anew, after the change
// that it is asked to save.
func TestOneCommandOnEngine(t *testing.T) {
	_, store := seeded(t, "personal")
	queue := make(knocks, 64)
	call := serve(t, store, queue)
	vm1 := connect(t, store, "vm-1")
	vm1.take("personal")
	var callers sync.WaitGroup
	const n = 8
	ask := func() {
		callers.Go(func() {
			if got, text := call("POST", "/cloud/sessions/personal/sync", ""); got != 200 {
				t.Errorf("%d %s", got, text)
			}
		})
	}
	knocked := func(want int) {
		t.Helper()
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for late := time.After(2 * time.Minute); len(queue) < want; {
			select {
			case <-tick.C:
			case <-late:
				t.Fatalf("%d of %d requests came", len(queue), want)
			}
		}
	}
	for range n {
		ask()
	}
	knocked(n)
	var done []string
	claimed, finish := make(chan struct{}, n), make(chan struct{})
	wg := vm1.work(queue, func(c cloudstore.Command) error {
		claimed <- struct{}{}
		<-finish
		done = append(done, c.ID)
		return store.FinishCommand(t.Context(), c.ID, vm1.incarnation, true, "", "", nil)
	})
	<-claimed
	ask()
	knocked(n) // the worker holds one
	close(finish)
	callers.Wait()
	close(queue)
	wg.Wait()
	if len(done) != 2 || done[0] == done[1] {
		t.Errorf("%d commands, want one of %d requests and one of the last: %s", len(done), n, done)
	}
}

func TestPagesOnEngine(t *testing.T) {
	var ids []string
	for i := range 23 {
		ids = append(ids, fmt.Sprintf("toko ☕ %d?/&", i))
	}
	_, store := seeded(t, ids...)
	call := serve(t, store, make(knocks))
	for _, limit := range []int{1, 5, 22, 23, 24} {
		var seen []string
		for next := ""; ; {
			var page struct {
				Sessions []struct {
					ID string `json:"session_id"`
				} `json:"sessions"`
				Next string `json:"next_cursor"`
			}
			path := "/cloud/sessions?limit=" + strconv.Itoa(limit)
			if next != "" {
				path += "&cursor=" + url.QueryEscape(next)
			}
			status, body := call("GET", path, "")
			if err := json.Unmarshal([]byte(body), &page); err != nil || status != 200 || len(page.Sessions) > limit {
				t.Fatalf("limit %d: %d %s: %v", limit, status, body, err)
			}
			for _, s := range page.Sessions {
				seen = append(seen, s.ID)
			}
			if next = page.Next; next == "" {
				break
			}
			if len(seen) > len(ids) {
				t.Fatal("the pages have no end")
			}
		}
		slices.Sort(seen)
		if want := slices.Sorted(slices.Values(ids)); !slices.Equal(seen, want) {
			t.Errorf("limit %d: %q", limit, seen)
		}
	}
	for _, cursor := range []string{"x", "eHl6", "_____w", "AQ", "AQ==", "Ag", "%00", "AQAA"} {
		if status, body := call("GET", "/cloud/sessions?cursor="+cursor, ""); status != 400 {
			t.Errorf("cursor %s: %d %s", cursor, status, body)
		}
	}
}

// TestIDsOnEngine: ids that the database might take for one are two.
func TestIDsOnEngine(t *testing.T) {
	_, store := seeded(t, "a", "☕", strings.Repeat("é", 255))
	call := serve(t, store, make(knocks))
	for id, want := range map[string]int{
		"a": 200, "☕": 200, strings.Repeat("é", 255): 200,
		"A": 404, "a ": 404, " a": 404, "á": 404, "..": 404, "%": 404, "_": 404, "'": 404, strings.Repeat("e", 255): 404,
		strings.Repeat("é", 256): 400, "a\x00": 400,
	} {
		if status, body := call("GET", "/cloud/sessions/"+url.PathEscape(id)+"/status", ""); status != want {
			t.Errorf("%.10q: %d %s, want %d", id, status, body, want)
		}
	}
}
