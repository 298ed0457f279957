package inbox

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	_ "modernc.org/sqlite"
)

// clock is a clock that tests set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) time() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

var start = time.Date(2026, 1, 22, 10, 30, 45, 0, time.UTC)

func newInbox(t *testing.T) (*Inbox, *sql.DB, *clock) {
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
	for range 2 { // the second time it has nothing to do
		if err := Migrate(t.Context(), db); err != nil {
			t.Fatal(err)
		}
	}
	c := &clock{now: start}
	return New(db, Options{Now: c.time}), db, c
}

const (
	lid = "123456789@lid"
	pn  = "6281244445555@s.whatsapp.net"
)

func text(id, body string) Message {
	return Message{
		Chat: lid, Sender: lid, ChatPN: pn, SenderPN: pn, ID: id, PushName: "Other", Kind: "text", Text: body,
		SentAt: start.Add(-time.Second),
	}
}

func add(t *testing.T, in *Inbox, m Message, want bool) {
	t.Helper()
	if got, err := in.Add(t.Context(), m); err != nil || got != want {
		t.Fatalf("add %s: new %v, %v; want new %v", m.ID, got, err, want)
	}
}

func list(t *testing.T, in *Inbox, after int64, limit int) []Message {
	t.Helper()
	got, err := in.List(t.Context(), after, limit)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestAddAndList(t *testing.T) {
	in, _, _ := newInbox(t)
	image := text("B", "look")
	image.Kind, image.Payload, image.FromMe = "image", []byte{0, 1, 2}, true
	add(t, in, text("A", "one"), true)
	add(t, in, image, true)
	add(t, in, text("A", "one"), false)

	wantA, wantB := text("A", "one"), image
	wantA.Seq, wantA.ReceivedAt = 1, start
	wantB.Seq, wantB.ReceivedAt = 2, start
	wantA.Origin, wantB.Origin = origin(wantA), origin(wantB)
	got := list(t, in, 0, 10)
	if diff := cmp.Diff([]Message{wantA, wantB}, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
	if got := list(t, in, 1, 10); len(got) != 1 || got[0].ID != "B" {
		t.Errorf("after 1: %v", got)
	}
	if got := list(t, in, 0, 1); len(got) != 1 || got[0].ID != "A" {
		t.Errorf("limit 1: %v", got)
	}
	last, err := in.Last(t.Context(), 1)
	if err != nil || len(last) != 1 || last[0].ID != "B" {
		t.Errorf("last: %v, %v", last, err)
	}
}

// A payload that was too large to keep is told from one that never was, also after the row was replicated.
func TestPayloadCut(t *testing.T) {
	in, db, _ := newInbox(t)
	cut, kept, bare := text("A", ""), text("B", ""), text("C", "")
	cut.PayloadCut, kept.Payload, bare.Payload = true, []byte{1}, []byte{}
	for _, m := range []Message{cut, kept, bare} {
		add(t, in, m, true)
	}
	var stored string
	if err := db.QueryRowContext(t.Context(), `SELECT group_concat(typeof(payload)) FROM inbox_messages`).Scan(&stored); err != nil {
		t.Fatal(err)
	}
	if stored != "blob,blob,null" {
		t.Errorf("stored as %s", stored)
	}
	got := list(t, in, 0, 10)
	if len(got) != 3 || !got[0].PayloadCut || got[0].Payload != nil || got[1].PayloadCut || len(got[1].Payload) != 1 ||
		got[2].PayloadCut || got[2].Payload != nil {
		t.Errorf("read as %+v", got)
	}
}

func TestOnceUnderAllAddresses(t *testing.T) {
	byLID, byPN, both := text("A", "x"), text("A", "x"), text("A", "x")
	byLID.ChatPN, byLID.SenderPN = "", ""
	byPN.Chat, byPN.Sender = pn, pn
	unknown := byPN
	unknown.ChatPN, unknown.SenderPN = "", ""
	for _, test := range []struct {
		name          string
		first, second Message
		isNew         bool
	}{
		{"the same", both, both, false},
		{"LID known first", both, byPN, false},
		{"LID unknown first", byPN, both, false},
		{"LID unknown the second time", both, unknown, false},
		{"phone number unknown the second time", both, byLID, false},
		{"phone number learnt meanwhile", byLID, both, false},
		{"nothing connects them", byLID, unknown, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			in, _, _ := newInbox(t)
			add(t, in, test.first, true)
			add(t, in, test.second, test.isNew)
		})
	}
	in, _, _ := newInbox(t)
	add(t, in, both, true)
	elsewhere := both
	elsewhere.Chat, elsewhere.ChatPN = "120363000000000001@g.us", ""
	add(t, in, elsewhere, true)
	someone := both
	someone.Sender, someone.SenderPN = "987654321@lid", ""
	add(t, in, someone, true)
}

func TestAddNeedsAddresses(t *testing.T) {
	in, _, _ := newInbox(t)
	for _, m := range []Message{{}, {ID: "A", Chat: lid}, {ID: "A", Sender: lid}, {Chat: lid, Sender: lid}} {
		if _, err := in.Add(t.Context(), m); err == nil {
			t.Errorf("stored %+v", m)
		}
	}
}

func TestAddAtOnce(t *testing.T) {
	in, _, _ := newInbox(t)
	const n = 10
	var wg sync.WaitGroup
	news := make(chan bool, 2*n)
	for i := range 2 * n {
		wg.Go(func() {
			isNew, err := in.Add(context.WithoutCancel(t.Context()), text(fmt.Sprint(i%n), "x"))
			if err != nil {
				t.Error(err)
			}
			news <- isNew
		})
	}
	wg.Wait()
	close(news)
	count := 0
	for isNew := range news {
		if isNew {
			count++
		}
	}
	if got := list(t, in, 0, 100); count != n || len(got) != n {
		t.Errorf("%d new, %d stored", count, len(got))
	}
}

func TestWatch(t *testing.T) {
	in, _, _ := newInbox(t)
	added, stop := in.Watch()
	other, stopOther := in.Watch()
	defer stopOther()
	add(t, in, text("A", "x"), true)
	add(t, in, text("B", "x"), true)
	<-added
	<-other
	select {
	case <-added:
		t.Error("two values for what one List shows")
	default:
	}
	add(t, in, text("B", "x"), false)
	select {
	case <-added:
		t.Error("a value for nothing new")
	default:
	}
	stop()
	add(t, in, text("C", "x"), true)
	<-other
	select {
	case <-added:
		t.Error("a value after stop")
	default:
	}
}

// A failed read is an error, never "nothing there".
func TestClosedDatabase(t *testing.T) {
	in, db, _ := newInbox(t)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	for name, call := range map[string]func() error{
		"Migrate":      func() error { return Migrate(ctx, db) },
		"Add":          func() error { _, err := in.Add(ctx, text("A", "x")); return err },
		"List":         func() error { _, err := in.List(ctx, 0, 1); return err },
		"Last":         func() error { _, err := in.Last(ctx, 1); return err },
		"Prune":        func() error { _, err := in.Prune(ctx); return err },
		"SkipAhead":    func() error { return in.SkipAhead(ctx, 2) },
		"Reserve":      func() error { _, _, err := in.Reserve(ctx, "k", "i", "t", "x"); return err },
		"MarkSent":     func() error { return in.MarkSent(ctx, "i", start) },
		"Unfinished":   func() error { _, err := in.Unfinished(ctx); return err },
		"Mark":         func() error { _, _, err := in.Mark(ctx, "m"); return err },
		"SetMark":      func() error { return in.SetMark(ctx, "m", "v") },
		"ClearMark":    func() error { return in.ClearMark(ctx, "m") },
		"AddHistory":   func() error { return in.AddHistory(ctx, "h", nil) },
		"PendingHist":  func() error { _, err := in.PendingHistory(ctx, 1); return err },
		"CountAttempt": func() error { return in.CountHistoryAttempt(ctx, "h") },
		"RemoveHist":   func() error { return in.RemoveHistory(ctx, "h") },
	} {
		if err := call(); err == nil {
			t.Errorf("%s on a closed database succeeded", name)
		}
	}
}
