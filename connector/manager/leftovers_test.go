package manager

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cloudsession/connector/capture"
	"cloudsession/connector/inbox"
	"cloudsession/connector/webhook"
)

// application remembers what it takes, and refuses while it is told to.
type application struct {
	mu       sync.Mutex
	refuses  bool
	attempts int
	ids      []string
}

func (a *application) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var m webhook.Message
	if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.attempts++
	if a.refuses {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	a.ids = append(a.ids, m.SessionID+" "+m.ID)
}

func (a *application) refuse(yes bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refuses = yes
}

func (a *application) wait(t *testing.T, what string, ok func(attempts int, ids []string) bool) {
	t.Helper()
	limit, tick := time.After(2*time.Minute), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for {
		a.mu.Lock()
		attempts, ids := a.attempts, slices.Clone(a.ids)
		a.mu.Unlock()
		if ok(attempts, ids) {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("%s: after %d attempts the application has %v", what, attempts, ids)
		}
	}
}

// firsts leaves out what was delivered again.
func firsts(ids []string) (first []string) {
	for _, id := range ids {
		if !slices.Contains(first, id) {
			first = append(first, id)
		}
	}
	return first
}

// withApplication returns a manager that delivers to an application.
func withApplication(t *testing.T) (*Manager, *application) {
	t.Helper()
	app := &application{}
	return New(Options{DataDir: t.TempDir(), Webhook: app.hook(t), Log: slog.New(slog.DiscardHandler)}), app
}

// hook is a webhook that delivers to the application.
func (a *application) hook(t *testing.T) *webhook.Dispatcher {
	t.Helper()
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	to, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := webhook.ParseSecret("0123456789abcdef0123456789abcdef")
	if err != nil {
		t.Fatal(err)
	}
	hook := webhook.New(webhook.Options{URL: to, Secrets: []webhook.Secret{secret}, Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(hook.Close)
	return hook
}

// endedTerm makes a session file as a term leaves it: messages p1 and p2 were
// pushed, d1 to d3 were not. d1 was delivered.
func endedTerm(t *testing.T, files sessionFiles, epoch uint64, change func(*inbox.Inbox)) {
	t.Helper()
	ctx := t.Context()
	if err := files.create(); err != nil {
		t.Fatal(err)
	}
	f, err := capture.Open(ctx, files.newPath(epoch), capture.Options{})
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(inbox.Migrate(ctx, f.DB()))
	_, err = f.Install(ctx)
	must(err)
	must(f.Begin(ctx, capture.Begin{SessionID: files.sessionID, Epoch: epoch, NeedBase: true}))
	box := inbox.New(f.DB(), inbox.Options{})
	must(box.StartDelivery(ctx))
	add := func(ids ...string) {
		for _, id := range ids {
			_, err := box.Add(ctx, inbox.Message{Chat: "1@lid", Sender: "1@lid", ID: id, Kind: "text", Text: id, SentAt: time.Now()})
			must(err)
		}
	}
	add("p1", "p2")
	base, err := f.Base(ctx)
	must(err)
	push := capture.InFlight{Epoch: epoch, FirstSeq: 1, Tags: [][32]byte{{1}}, Base: true, Mark: base.Mark}
	must(f.SetInFlight(ctx, push))
	must(f.Acknowledge(ctx, push))
	add("d1", "d2", "d3")
	list, err := box.Last(ctx, 3)
	must(err)
	must(box.MarkDelivered(ctx, list[0]))
	if change != nil {
		change(box)
	}
	must(f.Close())
}

// What an ended term's file alone holds is delivered, and the file stays until it is (A2).
func TestLeftoversAreDelivered(t *testing.T) {
	m, app := withApplication(t)
	files := filesOf(m.opt.DataDir, "toko ☕")
	endedTerm(t, files, 4, nil)
	if err := files.setAside(); err != nil {
		t.Fatal(err)
	}
	app.refuse(true)
	l := m.newLeftovers()
	l.pass(t.Context())
	app.wait(t, "refused", func(attempts int, _ []string) bool { return attempts > 0 })
	// Many terms later the file is still there.
	for epoch := uint64(5); epoch < 10; epoch++ {
		if err := os.WriteFile(files.newPath(epoch), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := files.setAside(); err != nil {
		t.Fatal(err)
	}
	l.stop()
	kept, err := filepath.Glob(filepath.Join(files.dir, "aside", "*.db"))
	if err != nil || len(kept) != keptAside+1 || filepath.Base(kept[0]) != "4.db" {
		t.Fatalf("kept: %v, %v; want the newest %d and the one with messages", kept, err, keptAside)
	}

	app.refuse(false)
	l = m.newLeftovers() // the process was started again
	l.pass(t.Context())
	want := []string{"toko ☕ d2", "toko ☕ d3"}
	// A try that stop found under way may have been taken too: what is not noted yet comes again.
	app.wait(t, "taken", func(_ int, ids []string) bool { return slices.Equal(firsts(ids), want) })
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(2 * time.Minute); holdsMessages(kept[0]); { // what was delivered is noted in the file
		select {
		case <-tick.C:
		case <-late:
			t.Fatal("what was delivered is not noted in the file")
		}
	}
	l.stop()
	if err := pruneAside(filepath.Dir(kept[0])); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(kept[0]); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file stays without a reason: %v", err)
	}
}

// Without an application nothing tells who has read what. A file stays as long as it
// alone holds messages that are remembered.
func TestFilesWithMessagesStayWithoutAnApplication(t *testing.T) {
	files := filesOf(t.TempDir(), "toko ☕")
	undelivered := func(box *inbox.Inbox) {
		if err := box.ClearMark(t.Context(), "deliver_after"); err != nil {
			t.Fatal(err)
		}
	}
	endedTerm(t, files, 4, undelivered)
	if err := files.setAside(); err != nil {
		t.Fatal(err)
	}
	for epoch := uint64(5); epoch < 10; epoch++ {
		if err := os.WriteFile(files.newPath(epoch), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := files.setAside(); err != nil {
		t.Fatal(err)
	}
	kept, err := filepath.Glob(filepath.Join(files.dir, "aside", "*.db"))
	if err != nil || len(kept) != keptAside+1 || filepath.Base(kept[0]) != "4.db" {
		t.Fatalf("kept: %v, %v; want the newest %d and the one with messages", kept, err, keptAside)
	}
	var log bytes.Buffer
	s := &session{files: files, log: slog.New(slog.NewTextHandler(&log, nil))}
	m := &Manager{}
	m.sayOnlyHere(t.Context(), s, files.newPath(4))
	if said := log.String(); !strings.Contains(said, "messages that only this file holds") || !strings.Contains(said, "messages=3") {
		t.Errorf("said of the file: %s", said)
	}
}

// A process died in the middle of setting a file aside: it is no session's any
// more, but still in its place.
func TestLeftoversOfAnOrphan(t *testing.T) {
	m, app := withApplication(t)
	files := filesOf(m.opt.DataDir, "personal")
	endedTerm(t, files, 1, nil)
	long := time.Now().Add(-time.Minute)
	if err := os.Chtimes(files.newPath(1), long, long); err != nil {
		t.Fatal(err)
	}
	l := m.newLeftovers()
	defer l.stop()
	l.pass(t.Context())
	app.wait(t, "taken", func(_ int, ids []string) bool { return slices.Equal(ids, []string{"personal d2", "personal d3"}) })
	if _, err := os.Stat(files.newPath(1)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is still in its place: %v", err)
	}
}

// Nobody opens a session again that has ended for good: then what was pushed is
// left to be delivered, too.
func TestLeftoversOfASessionThatIsOver(t *testing.T) {
	m, app := withApplication(t)
	files := filesOf(m.opt.DataDir, "personal")
	endedTerm(t, files, 1, func(box *inbox.Inbox) {
		if err := box.SetMark(t.Context(), deliverRest, "1"); err != nil {
			t.Fatal(err)
		}
	})
	if err := files.setAside(); err != nil {
		t.Fatal(err)
	}
	l := m.newLeftovers()
	defer l.stop()
	l.pass(t.Context())
	app.wait(t, "taken", func(_ int, ids []string) bool {
		return slices.Equal(ids, []string{"personal p1", "personal p2", "personal d2", "personal d3"})
	})
}

// Files that hold nothing, aren't session files, or belong to a session that is
// just being moved don't get in the way.
func TestLeftoversAmongOtherFiles(t *testing.T) {
	m, app := withApplication(t)
	busy, err := m.entry("busy")
	if err != nil {
		t.Fatal(err)
	}
	endedTerm(t, busy.files, 1, nil)
	if err := busy.files.setAside(); err != nil {
		t.Fatal(err)
	}
	busy.mu.Lock()
	broken := filesOf(m.opt.DataDir, "broken")
	for n, content := range []string{"", "no database at all, but long enough to look like one at first sight, which is enough"} {
		if err := os.MkdirAll(filepath.Join(broken.dir, "aside"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(broken.dir, "aside", fmt.Sprintf("%d.db", n)), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fine := filesOf(m.opt.DataDir, "fine")
	endedTerm(t, fine, 1, nil)
	if err := fine.setAside(); err != nil {
		t.Fatal(err)
	}
	l := m.newLeftovers()
	defer l.stop()
	l.pass(t.Context())
	app.wait(t, "the other session's", func(_ int, ids []string) bool { return slices.Equal(ids, []string{"fine d2", "fine d3"}) })
	busy.mu.Unlock()
	l.pass(t.Context())
	app.wait(t, "the busy session's", func(_ int, ids []string) bool {
		return slices.Equal(ids, []string{"fine d2", "fine d3", "busy d2", "busy d3"})
	})
}
