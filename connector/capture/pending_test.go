package capture

import (
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cloudsession/shared/sessionlog"
)

// Many pushes in one replay, written at any points, give what they give one by one.
func TestReplayAtOnce(t *testing.T) {
	n := seed(t)
	s, points := newSession(t, n), rand.New(rand.NewPCG(n, 2))
	log := []Changes{s.pushBase(t)}
	for range 400 {
		if name, err := s.ops.Step(t.Context()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if c, dirty := s.pushDelta(t); dirty {
			log = append(log, c)
		}
	}
	for range 3 {
		f, err := Create(t.Context(), filepath.Join(t.TempDir(), "session.db"), log[0].Push, Options{})
		must(t, err)
		r, err := f.Replay(t.Context())
		must(t, err)
		for _, c := range log {
			must(t, r.Apply(t.Context(), c.Push))
			if points.IntN(100) == 0 {
				must(t, r.flush(t.Context()))
			}
		}
		must(t, r.Commit(t.Context()))
		must(t, f.Check(t.Context()))
		if diff := cmp.Diff(dump(t, s.File), dump(t, f)); diff != "" {
			t.Errorf("differs (-session +replayed):\n%s", diff)
		}
		must(t, f.Close())
	}
}

// A replay that does not fit in the end leaves the file as it was.
func TestReplayFailsAsAWhole(t *testing.T) {
	s := newSession(t, 1)
	exec(t, s.File, "INSERT INTO whatsmeow_lid_map (lid, pn) VALUES ('1', '2')")
	s.pushDelta(t)
	before := dump(t, s.replica)
	table := sessionlog.Table{Name: "whatsmeow_lid_map", Columns: []string{"lid", "pn"}, Key: []string{"lid"}}
	twice := sessionlog.Push{Tables: []sessionlog.Table{table}, Records: []sessionlog.Record{
		{Key: []any{"3"}, Row: []any{"3", "4"}}, {Key: []any{"5"}, Row: []any{"5", "4"}}, // pn is unique
	}}
	if err := tryReplay(t, s.replica, twice); err == nil {
		t.Error("two rows with one unique value were replayed")
	}
	if diff := cmp.Diff(before, dump(t, s.replica)); diff != "" {
		t.Errorf("the file was changed:\n%s", diff)
	}
	if !foreignKeys(t, s.replica) {
		t.Error("foreign keys are off after an error")
	}
}

func TestKeyText(t *testing.T) {
	same := func(a, b any) bool { return keyText([]any{a}) == keyText([]any{b}) }
	if !same(int64(7), 7.0) || same(7.5, int64(7)) || same("7", int64(7)) || same("7", []byte("7")) || same(nil, "") {
		t.Error("keys compare otherwise than in SQLite")
	}
	if keyText([]any{"a", "bc"}) == keyText([]any{"ab", "c"}) {
		t.Error("the parts of a key run together")
	}
}
