package inbox

import (
	"math"
	"testing"
)

// next stores a message and returns its number.
func next(t *testing.T, in *Inbox, id string) int64 {
	t.Helper()
	add(t, in, text(id, "x"), true)
	last, err := in.Last(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	return last[0].Seq
}

func skipAhead(t *testing.T, in *Inbox, epoch uint64) {
	t.Helper()
	if err := in.SkipAhead(t.Context(), epoch); err != nil {
		t.Fatal(err)
	}
}

func TestSkipAhead(t *testing.T) {
	in, _, _ := newInbox(t)
	skipAhead(t, in, 1) // nobody has seen a number
	if got := next(t, in, "A"); got != 1 {
		t.Errorf("a session's first message is number %d", got)
	}
	skipAhead(t, in, 2)
	if got := next(t, in, "B"); got != termNumbers+1 {
		t.Errorf("the second term begins with number %d", got)
	}
	skipAhead(t, in, 2) // half done, and done again
	if got := next(t, in, "C"); got <= termNumbers+2 {
		t.Errorf("number %d after %d", got, termNumbers+1)
	}
}

// However many messages of earlier terms are missing in the copy: none of the numbers that they had is given out again.
func TestSkipAheadOfWhatNobodyKnows(t *testing.T) {
	whole, _, _ := newInbox(t)
	skipAhead(t, whole, 7)
	for _, m := range []string{"A", "B"} {
		next(t, whole, m)
	}
	const many = 1_000_000
	if _, err := whole.db.ExecContext(t.Context(), `UPDATE sqlite_sequence SET seq = seq + ?`, many); err != nil {
		t.Fatal(err)
	}
	last := next(t, whole, "C")
	credentialsOnly, _, _ := newInbox(t)
	skipAhead(t, credentialsOnly, 8)
	if got := next(t, credentialsOnly, "D"); got <= last {
		t.Errorf("number %d after %d: nobody who asks for what comes after that sees it", got, last)
	}
}

// A number has to be exact in JSON, whatever reads it.
func TestSkipAheadStaysExact(t *testing.T) {
	for _, epoch := range []uint64{lastTerm, lastTerm + 1, 1 << 40, math.MaxUint64} {
		in, _, _ := newInbox(t)
		before := next(t, in, "A")
		skipAhead(t, in, epoch)
		got := next(t, in, "B")
		if got <= before || got > 1<<53 || epoch <= lastTerm && got != int64(epoch-1)*termNumbers+1 {
			t.Errorf("epoch %d: number %d after %d", epoch, got, before)
		}
	}
}

// What was skipped is known to whoever restores the file from its rows, also while there is no message in it.
func TestSkippedStaysSkipped(t *testing.T) {
	first, _, _ := newInbox(t)
	skipAhead(t, first, 5)
	mark, ok, err := first.Mark(t.Context(), skippedTo)
	if err != nil || !ok {
		t.Fatalf("nothing noted, %v", err)
	}
	restored, db, _ := newInbox(t)
	if err := restored.SetMark(t.Context(), skippedTo, mark); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := Migrate(t.Context(), db); err != nil {
			t.Fatal(err)
		}
	}
	if got := next(t, restored, "A"); got != 4*termNumbers+1 {
		t.Errorf("the restored file goes on with number %d", got)
	}
}
