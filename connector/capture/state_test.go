package capture

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cloudsession/shared/sessionlog"
)

func TestStateRoundTrip(t *testing.T) {
	f := open(t, "", Options{})
	exec(t, f, "CREATE TABLE inbox_x (a TEXT PRIMARY KEY)")
	if st, err := f.State(t.Context()); err != nil || st.SessionID != "" || st.InFlight != nil {
		t.Errorf("a new file: %+v, %v", st, err)
	}
	install(t, f)
	bootID, err := BootID()
	if err != nil {
		t.Fatal(err)
	}
	inode, err := Inode(f.Path())
	if err != nil {
		t.Fatal(err)
	}
	want := State{
		SessionID: "toko ☕", Epoch: math.MaxUint64, Salt: [16]byte{1, 15: 2},
		Acked:    sessionlog.Cursor{Epoch: math.MaxUint64 - 1, Seq: math.MaxUint64 - 2, Tag: [32]byte{3, 31: 4}},
		NeedBase: true, BootID: bootID, Inode: inode,
	}
	begin(t, f, Begin{SessionID: want.SessionID, Epoch: want.Epoch, Salt: want.Salt, Acked: want.Acked, BootID: bootID})
	check := func(path string) {
		t.Helper()
		st, err := open(t, path, Options{}).State(t.Context())
		if diff := cmp.Diff(want, st); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	}
	check(f.Path()) // through a second handle

	p := InFlight{
		Epoch: math.MaxUint64, FirstSeq: 7, Tags: [][32]byte{{5}, {6}}, Bytes: 4711, Base: true,
		Mark: Mark{Number: 9, Schema: "x", Tables: []string{"inbox_x"}},
	}
	if err := f.SetInFlight(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	want.InFlight = &p
	check(f.Path())

	if err := f.Acknowledge(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	want.InFlight = nil
	want.Acked = sessionlog.Cursor{Epoch: math.MaxUint64, Seq: 8, Tag: [32]byte{6}}
	want.Log = LogSize{BaseBytes: 4711, Epochs: 1}
	check(f.Path())
}

func TestAcknowledgeOnlyWhatIsInFlight(t *testing.T) {
	s := newSession(t, 1)
	ctx := t.Context()
	if err := s.ops.Run(ctx, "PutSession"); err != nil {
		t.Fatal(err)
	}
	c, _, err := s.Delta(ctx)
	if err != nil {
		t.Fatal(err)
	}
	p := s.inFlight(c)
	if err := s.Acknowledge(ctx, p); !errors.Is(err, ErrNotInFlight) {
		t.Errorf("nothing in flight: %v", err)
	}
	if err := s.SetInFlight(ctx, p); err != nil {
		t.Fatal(err)
	}
	other := p
	other.Tags = [][32]byte{{99}}
	if err := s.Acknowledge(ctx, other); !errors.Is(err, ErrNotInFlight) {
		t.Errorf("another tag: %v", err)
	}
	if st, err := s.State(ctx); err != nil || !st.Dirty || st.InFlight == nil {
		t.Errorf("state %+v, %v", st, err)
	}
	for range 2 { // the second time changes nothing
		if err := s.Acknowledge(ctx, p); err != nil {
			t.Fatal(err)
		}
	}
	if st, err := s.State(ctx); err != nil || st.Dirty || st.InFlight != nil || st.Acked != p.Last() {
		t.Errorf("state %+v, %v", st, err)
	}
}

func TestBeginKeepsWhatIsDirty(t *testing.T) {
	s := newSession(t, 1)
	ctx := t.Context()
	if err := s.ops.Run(ctx, "PutSession"); err != nil {
		t.Fatal(err)
	}
	c, _, err := s.Delta(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SetInFlight(ctx, s.inFlight(c)); err != nil {
		t.Fatal(err)
	}
	begin(t, s.File, Begin{SessionID: "a", Epoch: 2})
	if st, err := s.State(ctx); err != nil || !st.Dirty || st.InFlight != nil || st.NeedBase {
		t.Errorf("state %+v, %v", st, err)
	}
	begin(t, s.File, Begin{SessionID: "a", Epoch: 3, NeedBase: true})
	begin(t, s.File, Begin{SessionID: "a", Epoch: 4})
	if st, err := s.State(ctx); err != nil || !st.NeedBase {
		t.Errorf("the need of a base was forgotten: %+v, %v", st, err)
	}
}

// crash copies the file as a killed process leaves it: with its journal.
func crash(t *testing.T, f *File) *File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "session.db")
	for _, suffix := range []string{"", "-wal"} {
		data, err := os.ReadFile(f.Path() + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path+suffix, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return open(t, path, Options{})
}

// Whatever a push has reached when the process dies, what is not acknowledged
// is pushed again, and the replica ends up equal.
func TestCrashAtEachStep(t *testing.T) {
	steps := []string{"changed", "read", "in flight", "applied", "acknowledged"}
	for reached, name := range steps {
		t.Run(name, func(t *testing.T) {
			s := newSession(t, 1)
			ctx := t.Context()
			for range 50 {
				if _, err := s.ops.Step(ctx); err != nil {
					t.Fatal(err)
				}
			}
			var c Changes
			var err error
			if reached >= 1 {
				if c, _, err = s.Delta(ctx); err != nil {
					t.Fatal(err)
				}
			}
			p := s.inFlight(c)
			if reached >= 2 {
				if err := s.SetInFlight(ctx, p); err != nil {
					t.Fatal(err)
				}
			}
			if reached >= 3 {
				s.replay(t, c.Push)
			}
			if reached >= 4 {
				if err := s.Acknowledge(ctx, p); err != nil {
					t.Fatal(err)
				}
			}
			s.File = crash(t, s.File)
			st, err := s.State(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if wantDirty := reached < 4; st.Dirty != wantDirty {
				t.Errorf("dirty %v", st.Dirty)
			}
			if known := st.InFlight != nil && samePush(*st.InFlight, p); known != (reached == 2 || reached == 3) {
				t.Errorf("in flight %+v", st.InFlight)
			}
			if install(t, s.File) {
				t.Error("needs a base")
			}
			s.ops = newOps(t, s.File, 2)
			for range 20 {
				if _, err := s.ops.Step(ctx); err != nil {
					t.Fatal(err)
				}
			}
			if reached == 3 { // it stands in the log after all
				if err := s.Acknowledge(ctx, *st.InFlight); err != nil {
					t.Fatal(err)
				}
			}
			s.pushDelta(t)
			s.compare(t)
		})
	}
}
