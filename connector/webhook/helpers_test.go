package webhook

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"cloudsession/connector/inbox"
)

const sessionID = "personal"

// newBox returns the inbox of a new session file, with delivery started.
func newBox(t *testing.T) *inbox.Inbox {
	t.Helper()
	in, _ := newBoxFile(t)
	return in
}

func newBoxFile(t *testing.T) (*inbox.Inbox, *sql.DB) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "session.db")
	db, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := inbox.Migrate(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	in := inbox.New(db, inbox.Options{})
	if err := in.StartDelivery(t.Context()); err != nil {
		t.Fatal(err)
	}
	return in, db
}

func jid(chat string) string { return chat + "@g.us" }

// put stores a message of a chat, whose text is its id.
func put(t *testing.T, in *inbox.Inbox, chat string, n int) {
	t.Helper()
	id := fmt.Sprintf("%s-%d", chat, n)
	store(t, in, inbox.Message{Chat: jid(chat), Sender: "1@lid", ID: id, Text: id})
}

func store(t *testing.T, in *inbox.Inbox, m inbox.Message) {
	t.Helper()
	m.Kind, m.SentAt = "text", time.Now()
	if isNew, err := in.Add(t.Context(), m); err != nil || !isNew {
		t.Fatalf("store %s: new %v, %v", m.ID, isNew, err)
	}
}

// taken is a message that the receiver has answered with 2xx.
type taken struct {
	Message
	attempt int
	at      time.Time
}

// receiver is an application: it checks what it gets as the contract says, and answers as the test says. It serves
// HTTP, and stands in for the network where the clock is simulated.
type receiver struct {
	t      *testing.T
	answer func(m Message, attempt int) int // the status; nil for 200 always

	mu    sync.Mutex
	taken []taken
	tries []taken
}

func newReceiver(t *testing.T, answer func(m Message, attempt int) int) *receiver {
	return &receiver{t: t, answer: answer}
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the connector has given up
	}
	if err := Verify(vectorSecret, req.Header, body, time.Now()); err != nil {
		r.t.Errorf("the receiver refuses a delivery: %v", err)
	}
	var m Message
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		r.t.Errorf("the receiver can't read a delivery: %v", err)
	}
	attempt, err := strconv.Atoi(req.Header.Get(HeaderAttempt))
	if err != nil || m.Key != req.Header.Get(HeaderID) || req.Header.Get("Content-Type") != "application/json" {
		r.t.Errorf("headers: %v", req.Header)
	}
	status := http.StatusOK
	if r.answer != nil {
		status = r.answer(m, attempt)
	}
	r.mu.Lock()
	now := taken{m, attempt, time.Now()}
	r.tries = append(r.tries, now)
	if status >= 200 && status <= 299 {
		r.taken = append(r.taken, now)
	}
	r.mu.Unlock()
	w.WriteHeader(status)
}

// RoundTrip implements http.RoundTripper.
func (r *receiver) RoundTrip(req *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	r.ServeHTTP(w, req)
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

// ids lists what was taken, in order, each message the first time only.
func (r *receiver) ids() (list []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := map[string]bool{}
	for _, m := range r.taken {
		if !seen[m.Key] {
			seen[m.Key] = true
			list = append(list, m.ID)
		}
	}
	return list
}

func (r *receiver) wait(n int) []string {
	r.t.Helper()
	return waitFor(r.t, func() ([]string, bool) {
		list := r.ids()
		return list, len(list) >= n
	})
}

// waitFor asks until it gets what it waits for, two minutes at most.
func waitFor[T any](t *testing.T, ask func() (T, bool)) T {
	t.Helper()
	limit, tick := time.NewTimer(2*time.Minute), time.NewTicker(5*time.Millisecond)
	defer limit.Stop()
	defer tick.Stop()
	for {
		got, ok := ask()
		if ok {
			return got
		}
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("waited in vain; have %v", got)
		}
	}
}

func (r *receiver) all() []taken {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]taken(nil), r.tries...)
}

// inOrder fails unless each chat's messages, named chat-n, were first taken in the order of n.
func inOrder(t *testing.T, ids []string) {
	t.Helper()
	next := map[string]int{}
	for _, id := range ids {
		chat, number, _ := strings.Cut(id, "-")
		n, err := strconv.Atoi(number)
		if err != nil {
			t.Fatal(err)
		}
		if next[chat]++; n != next[chat] {
			t.Errorf("chat %s: message %d came as number %d", chat, n, next[chat])
		}
	}
}

func secrets(t *testing.T) []Secret {
	t.Helper()
	s, err := ParseSecret(vectorSecret)
	if err != nil {
		t.Fatal(err)
	}
	return []Secret{s}
}

// dispatcher returns one that talks to the server, or to the transport at once.
func dispatcher(t *testing.T, to string, transport http.RoundTripper, log io.Writer) *Dispatcher {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	d := New(Options{
		URL: u, Secrets: secrets(t), Version: "test", Transport: transport,
		Log: slog.New(slog.NewTextHandler(log, nil)),
	})
	if transport == nil {
		d.endpoint.limit = 2 * time.Minute // an attempt that a busy machine holds up is not another one
	}
	t.Cleanup(d.Close)
	return d
}

// serve starts a real HTTP server.
func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func start(t *testing.T, d *Dispatcher, box Box) *Queue {
	t.Helper()
	q := d.Start(Source{SessionID: sessionID, Box: box})
	t.Cleanup(func() { q.Stop(time.Minute) })
	return q
}

func undelivered(t *testing.T, in *inbox.Inbox) int {
	t.Helper()
	list, err := in.Undelivered(context.WithoutCancel(t.Context()), 0, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func waitDelivered(t *testing.T, in *inbox.Inbox) {
	t.Helper()
	waitFor(t, func() (int, bool) {
		n := undelivered(t, in)
		return n, n == 0
	})
}
