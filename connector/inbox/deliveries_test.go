package inbox

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	_ "modernc.org/sqlite"
)

func undeliveredIDs(t *testing.T, in *Inbox) (seqs []int64) {
	t.Helper()
	list, err := in.Undelivered(t.Context(), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list {
		seqs = append(seqs, p.Seq)
	}
	return seqs
}

func wantUndelivered(t *testing.T, in *Inbox, when string, want ...int64) {
	t.Helper()
	if got := undeliveredIDs(t, in); !slices.Equal(got, want) {
		t.Errorf("undelivered %s: %v, want %v", when, got, want)
	}
}

func markDelivered(t *testing.T, in *Inbox, seq int64) {
	t.Helper()
	if err := in.MarkDelivered(t.Context(), Message{Seq: seq, ID: fmt.Sprint(seq)}); err != nil {
		t.Fatal(err)
	}
}

func TestDelivery(t *testing.T) {
	in, db, now := newInbox(t)
	ctx := t.Context()
	for i := 1; i <= 2; i++ {
		add(t, in, text(fmt.Sprint(i), "before"), true)
	}
	wantUndelivered(t, in, "without an application")
	for range 2 {
		if err := in.StartDelivery(ctx); err != nil {
			t.Fatal(err)
		}
	}
	wantUndelivered(t, in, "before anything new came in")
	for i := 3; i <= 6; i++ {
		m := text(fmt.Sprint(i), "after")
		if i%2 == 0 {
			m.Chat = "120363000000000001@g.us"
		}
		add(t, in, m, true)
	}
	if err := in.StartDelivery(ctx); err != nil { // after a restart
		t.Fatal(err)
	}
	wantUndelivered(t, in, "at first", 3, 4, 5, 6)
	m, ok, err := in.NextUndelivered(ctx, []string{lid, pn}, 0)
	if err != nil || !ok || m.Seq != 3 || m.Text != "after" || m.Origin == "" {
		t.Errorf("next of the chat: %+v, %v, %v", m, ok, err)
	}
	if m, ok, err := in.NextUndelivered(ctx, []string{lid}, 5); err != nil || ok {
		t.Errorf("next of the chat after its last: %+v, %v", m, err)
	}
	markDelivered(t, in, 5)
	markDelivered(t, in, 5)
	wantUndelivered(t, in, "after one in the middle", 3, 4, 6)
	markDelivered(t, in, 3)
	if _, err := in.Prune(ctx); err != nil {
		t.Fatal(err)
	}
	wantUndelivered(t, in, "after pruning", 4, 6)
	if mark, _, err := in.Mark(ctx, deliverAfter); err != nil || mark != "3" {
		t.Errorf("mark: %q, %v; want 3", mark, err)
	}
	var notes int
	if err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM inbox_deliveries").Scan(&notes); err != nil || notes != 1 {
		t.Errorf("%d single notes, %v; want 1", notes, err)
	}
	markDelivered(t, in, 4)
	markDelivered(t, in, 6)
	now.advance(Retention + time.Hour)
	add(t, in, text("7", "late"), true)
	if _, err := in.Prune(ctx); err != nil {
		t.Fatal(err)
	}
	wantUndelivered(t, in, "when the others are gone", 7)
}

func TestAwaitDelivery(t *testing.T) {
	in, _, _ := newInbox(t)
	m := text("A", "x")
	first, stopFirst := in.AwaitDelivery(m)
	second, stopSecond := in.AwaitDelivery(m)
	other, stopOther := in.AwaitDelivery(text("B", "x"))
	stopFirst()
	select {
	case <-second:
		t.Fatal("told of a delivery before there was one")
	default:
	}
	add(t, in, m, true)
	m = list(t, in, 0, 1)[0]
	if err := in.MarkDelivered(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	<-first
	<-second
	select {
	case <-other:
		t.Error("told of another message's delivery")
	default:
	}
	stopSecond()
	stopOther()
	if len(in.awaited) != 0 {
		t.Errorf("%d waiters left", len(in.awaited))
	}
}

// What a device has learnt about a sender changes the record, not what the message is called.
func TestOriginIsTheServices(t *testing.T) {
	early, late := text("A", "x"), text("A", "x")
	early.Chat, early.Sender, early.ChatPN, early.SenderPN = pn, pn, "", ""
	for _, m := range []*Message{&early, &late} {
		m.FromChat, m.FromSender = pn, pn
	}
	names := map[string]bool{}
	for _, m := range []Message{early, late} {
		in, _, _ := newInbox(t)
		add(t, in, m, true)
		names[list(t, in, 0, 1)[0].Origin] = true
	}
	if len(names) != 1 {
		t.Errorf("one message has the names %v", names)
	}
	for _, change := range []func(*Message){
		func(m *Message) { m.ID = "B" }, func(m *Message) { m.FromChat += "1" }, func(m *Message) { m.FromSender += "1" },
	} {
		other := late
		change(&other)
		names[origin(other)] = true
	}
	if len(names) != 4 {
		t.Errorf("four messages have %d names", len(names))
	}
}

// A file that was made before deliveries were noted.
func TestMigrateOldFile(t *testing.T) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "old.db")+"?_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // a test's file
	for _, stmt := range schema[:6] {
		if _, err := db.ExecContext(t.Context(), stmt); err != nil {
			t.Fatal(err)
		}
	}
	const insert = `INSERT INTO inbox_messages (chat, sender, id, kind, sent_at, received_at) VALUES (?, ?, 'A', 'text', 1, 1)`
	if _, err := db.ExecContext(t.Context(), insert, lid, lid); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := Migrate(t.Context(), db); err != nil {
			t.Fatal(err)
		}
	}
	in := New(db, Options{})
	if got := list(t, in, 0, 10); len(got) != 1 || got[0].Origin != origin(Message{Chat: lid, Sender: lid, ID: "A"}) {
		t.Errorf("an old message reads as %+v", got)
	}
	if err := in.StartDelivery(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantUndelivered(t, in, "in an old file")
	add(t, in, text("B", "x"), true)
	wantUndelivered(t, in, "in an old file with a new message", 2)
}
