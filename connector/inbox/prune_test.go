package inbox

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// at is text with the service's time of it.
func at(id string, sent time.Time) Message {
	m := text(id, "x")
	m.SentAt = sent
	return m
}

func prune(t *testing.T, in *Inbox, want int64) {
	t.Helper()
	if n, err := in.Prune(t.Context()); n != want || err != nil {
		t.Errorf("pruned %d, %v; want %d", n, err, want)
	}
}

func wantMessages(t *testing.T, in *Inbox, want ...string) {
	t.Helper()
	var ids []string
	for _, m := range list(t, in, 0, 100) {
		ids = append(ids, m.ID)
	}
	if fmt.Sprint(ids) != fmt.Sprint(want) {
		t.Errorf("left: %v, want %v", ids, want)
	}
}

// The clock of a machine may be far ahead, or have been far behind: only what the service says the time is ages
// anything.
func TestWrongClockAgesNothing(t *testing.T) {
	for name, clocks := range map[string][2]time.Time{
		"ahead when it prunes":  {start, start.Add(2 * Retention)},
		"behind when it stores": {time.Unix(0, 0), start},
		"behind, then ahead":    {time.Unix(0, 0), start.Add(2 * Retention)},
	} {
		t.Run(name, func(t *testing.T) {
			in, _, now := newInbox(t)
			now.advance(clocks[0].Sub(start))
			for i := range 3 {
				add(t, in, at(fmt.Sprint(i), start.Add(time.Duration(i)*time.Hour)), true)
			}
			if _, _, err := in.Reserve(t.Context(), "key", "ID1", lid, "x"); err != nil {
				t.Fatal(err)
			}
			if err := in.MarkSent(t.Context(), "ID1", start); err != nil {
				t.Fatal(err)
			}
			now.advance(clocks[1].Sub(clocks[0]))
			prune(t, in, 0)
			wantMessages(t, in, "0", "1", "2")
			add(t, in, at("0", start), false)
		})
	}
}

// What was sent long ago may have come in a moment ago: the service keeps it for a device that was away.
func TestAgeCountsFromTheReception(t *testing.T) {
	in, _, now := newInbox(t)
	add(t, in, at("waited", start.Add(-Retention)), true)
	add(t, in, at("fresh", start), true)
	now.advance(time.Hour)
	add(t, in, at("later", start.Add(time.Hour)), true)
	prune(t, in, 0)
	now.advance(Retention)
	add(t, in, at("much later", start.Add(Retention+time.Hour)), true)
	prune(t, in, 2)
	wantMessages(t, in, "later", "much later")
}

// However old: nobody else has what was not delivered, and a send that isn't over was promised to be repeated.
func TestUnfinishedNeverExpires(t *testing.T) {
	in, db, now := newInbox(t)
	ctx := t.Context()
	if err := in.StartDelivery(ctx); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"1", "2", "3"} {
		add(t, in, at(id, start), true)
	}
	markDelivered(t, in, 2)
	for _, id := range []string{"pending", "sent", "refused"} {
		if _, _, err := in.Reserve(ctx, id, "ID "+id, lid, "x"); err != nil {
			t.Fatal(err)
		}
	}
	if err := in.MarkSent(ctx, "ID sent", start); err != nil {
		t.Fatal(err)
	}
	if err := in.MarkFailed(ctx, "ID refused", "refused"); err != nil {
		t.Fatal(err)
	}
	if err := in.AddHistory(ctx, "H", []byte{1}); err != nil {
		t.Fatal(err)
	}
	now.advance(3 * Retention)
	add(t, in, at("4", start.Add(3*Retention)), true)
	prune(t, in, 3) // the delivered message, and what became of two sends
	wantUndelivered(t, in, "long after", 1, 3, 4)
	if sends, err := in.Unfinished(ctx); err != nil || len(sends) != 1 || sends[0].Key != "pending" {
		t.Errorf("unfinished: %v, %v", sends, err)
	}
	if left, err := in.PendingHistory(ctx, 10); err != nil || len(left) != 1 {
		t.Errorf("announcements of history: %v, %v", left, err)
	}
	var notes int
	if err := db.QueryRowContext(ctx, `SELECT COUNT(*) FROM inbox_deliveries`).Scan(&notes); err != nil || notes != 0 {
		t.Errorf("%d notes of deliveries of messages that are gone, %v", notes, err)
	}
}

// A reader that never comes back can't make a session too large to be copied: beyond the size it is the oldest of
// what is past its time that goes.
func TestUndeliveredIsBounded(t *testing.T) {
	in, _, now := newInbox(t)
	in.keep = 3 * (1_000 + recordOverhead)
	if err := in.StartDelivery(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		m := at(fmt.Sprint(i), start)
		m.Text = strings.Repeat("x", 1_000)
		add(t, in, m, true)
	}
	prune(t, in, 0) // none of it is old
	now.advance(2 * Retention)
	prune(t, in, 0) // says this clock alone
	m := at("late", start.Add(2*Retention))
	m.Text = strings.Repeat("x", 1_000)
	add(t, in, m, true)
	prune(t, in, 4)
	wantMessages(t, in, "4", "5", "late")
}

func TestPruneKeepsTheNewest(t *testing.T) {
	in, _, now := newInbox(t)
	add(t, in, at("A", start), true)
	add(t, in, at("B", start), true)
	if _, _, err := in.Reserve(t.Context(), "old", "ID1", lid, "x"); err != nil {
		t.Fatal(err)
	}
	// The service's last word is from the send.
	if err := in.MarkSent(t.Context(), "ID1", start); err != nil {
		t.Fatal(err)
	}
	now.advance(Retention)
	if _, _, err := in.Reserve(t.Context(), "new", "ID2", lid, "x"); err != nil {
		t.Fatal(err)
	}
	if err := in.MarkSent(t.Context(), "ID2", start.Add(Retention)); err != nil {
		t.Fatal(err)
	}
	prune(t, in, 0)
	now.advance(time.Second)
	prune(t, in, 0)
	if _, _, err := in.Reserve(t.Context(), "newer", "ID3", lid, "x"); err != nil {
		t.Fatal(err)
	}
	if err := in.MarkSent(t.Context(), "ID3", start.Add(Retention+time.Second)); err != nil {
		t.Fatal(err)
	}
	prune(t, in, 2)
	wantMessages(t, in, "B")
	add(t, in, text("C", "x"), true)
	if got := list(t, in, 2, 10); len(got) != 1 || got[0].Seq != 3 {
		t.Errorf("the numbers start again: %v", got)
	}
}

// What the application has, or nobody is to be told of, is kept only as far as there is room for it, oldest first
// to go. What is still to be delivered stays.
func TestPruneBySize(t *testing.T) {
	in, _, _ := newInbox(t)
	in.keep = 10 * (10_000 + recordOverhead)
	body := strings.Repeat("é", 2500) // 5,000 bytes
	for i := range 20 {
		m := text(fmt.Sprint("before", i), body)
		m.Payload = make([]byte, 5_000)
		add(t, in, m, true)
	}
	prune(t, in, 10) // nobody asked for deliveries yet
	if err := in.StartDelivery(t.Context()); err != nil {
		t.Fatal(err)
	}
	var waiting []Message
	for i := range 20 {
		m := text(fmt.Sprint("after", i), body)
		m.Payload = make([]byte, 5_000)
		add(t, in, m, true)
		waiting = list(t, in, 20, 100)
	}
	prune(t, in, 0)
	for _, m := range waiting[1:6] {
		if err := in.MarkDelivered(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	prune(t, in, 5) // the oldest five of the fifteen that are done with
	got := list(t, in, 0, 100)
	if len(got) != 25 || got[0].ID != "before15" || got[5].ID != "after0" {
		t.Errorf("%d left, the oldest %s", len(got), got[0].ID)
	}
	for _, m := range waiting[6:] {
		if err := in.MarkDelivered(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	prune(t, in, 14)
	if got := list(t, in, 0, 100); len(got) != 11 || got[0].ID != "after0" {
		t.Errorf("%d left, the oldest %s, which waits for the application", len(got), got[0].ID)
	}
	if pending, err := in.Undelivered(t.Context(), 0, 100); err != nil || len(pending) != 1 {
		t.Errorf("%d to be delivered, %v", len(pending), err)
	}
}

func TestAddPrunes(t *testing.T) {
	in, _, now := newInbox(t)
	add(t, in, at("A", start), true)
	now.advance(Retention + time.Hour)
	add(t, in, at("B", start.Add(Retention+time.Hour)), true) // prunes before it adds; A was the newest then
	now.advance(pruneEvery)
	add(t, in, at("C", start.Add(Retention+2*time.Hour)), true)
	wantMessages(t, in, "B", "C")
}
