package inbox

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHistory(t *testing.T) {
	in, _, _ := newInbox(t)
	ctx := t.Context()
	for _, id := range []string{"A", "B", "A"} {
		if err := in.AddHistory(ctx, id, []byte(id)); err != nil {
			t.Fatal(err)
		}
	}
	if err := in.CountHistoryAttempt(ctx, "A"); err != nil {
		t.Fatal(err)
	}
	got, err := in.PendingHistory(ctx, 10)
	want := []History{{ID: "B", Notification: []byte("B")}, {ID: "A", Notification: []byte("A"), Attempts: 1}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("pending: %v (-want +got):\n%s", err, diff)
	}
	for _, id := range []string{"A", "B"} {
		if err := in.RemoveHistory(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := in.PendingHistory(ctx, 10); len(got) != 0 || err != nil {
		t.Errorf("pending: %v, %v", got, err)
	}
	if err := in.AddHistory(ctx, "", nil); err == nil {
		t.Error("stored without an id")
	}
}

func TestMarks(t *testing.T) {
	in, _, _ := newInbox(t)
	ctx := t.Context()
	if v, ok, err := in.Mark(ctx, "m"); ok || v != "" || err != nil {
		t.Errorf("unset: %q, %v, %v", v, ok, err)
	}
	for _, value := range []string{"1", ""} {
		if err := in.SetMark(ctx, "m", value); err != nil {
			t.Fatal(err)
		}
		if v, ok, err := in.Mark(ctx, "m"); !ok || v != value || err != nil {
			t.Errorf("set to %q: %q, %v, %v", value, v, ok, err)
		}
	}
	if err := in.ClearMark(ctx, "m"); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := in.Mark(ctx, "m"); ok || err != nil {
		t.Errorf("cleared: %v, %v", ok, err)
	}
}
