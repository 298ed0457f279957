package capture

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cloudsession/connector/capture/capturetest"
	"cloudsession/shared/sessionlog"
)

// seed returns a random seed, or the one in CLOUDSESSION_SEED.
func seed(t testing.TB) uint64 {
	t.Helper()
	n := rand.Uint64()
	if text := os.Getenv("CLOUDSESSION_SEED"); text != "" {
		var err error
		if n, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("CLOUDSESSION_SEED: %v", err)
		}
	}
	t.Logf("CLOUDSESSION_SEED=%d", n)
	return n
}

// open opens a new file, or again the one at path.
func open(t testing.TB, path string, o Options) *File {
	t.Helper()
	if path == "" {
		path = filepath.Join(t.TempDir(), "session.db")
	}
	f, err := Open(t.Context(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// exec runs statements on f's database.
func exec(t testing.TB, f *File, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := f.DB().ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func install(t testing.TB, f *File) bool {
	t.Helper()
	changed, err := f.Install(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return changed
}

// session is a captured file with a device, and a replica that gets its pushes.
type session struct {
	*File
	ops     *capturetest.Ops
	replica *File
	seq     uint64
}

// newSession returns a session whose first base is acknowledged and applied.
func newSession(t testing.TB, seed uint64) *session {
	t.Helper()
	s := &session{File: open(t, "", Options{})}
	s.ops = newOps(t, s.File, seed)
	if !install(t, s.File) {
		t.Error("a new file needs no base")
	}
	begin(t, s.File, Begin{SessionID: "toko ☕", Epoch: 1, NeedBase: true})
	s.pushBase(t)
	return s
}

func newOps(t testing.TB, f *File, seed uint64) *capturetest.Ops {
	t.Helper()
	ops, err := capturetest.NewOps(t.Context(), f.DB(), seed)
	if err != nil {
		t.Fatal(err)
	}
	return ops
}

func begin(t testing.TB, f *File, b Begin) {
	t.Helper()
	if err := f.Begin(t.Context(), b); err != nil {
		t.Fatal(err)
	}
}

// pushBase carries a base to the replica.
func (s *session) pushBase(t testing.TB) Changes {
	t.Helper()
	c, err := s.Base(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.deliver(t, c)
	return c
}

// pushDelta carries what changed to the replica.
func (s *session) pushDelta(t testing.TB) (Changes, bool) {
	t.Helper()
	c, dirty, err := s.Delta(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if dirty {
		s.deliver(t, c)
	}
	return c, dirty
}

// deliver does with a push what the replicator does, through its encoding.
func (s *session) deliver(t testing.TB, c Changes) {
	t.Helper()
	p := s.inFlight(c)
	if err := s.SetInFlight(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	s.replay(t, c.Push)
	if err := s.Acknowledge(t.Context(), p); err != nil {
		t.Fatal(err)
	}
}

func (s *session) inFlight(c Changes) InFlight {
	s.seq++
	return InFlight{Epoch: 1, FirstSeq: s.seq, Tags: [][32]byte{{byte(s.seq)}}, Base: c.Push.Base, Mark: c.Mark}
}

// replay encodes and decodes p, and gives it to the replica; a base makes a new one.
func (s *session) replay(t testing.TB, p sessionlog.Push) {
	t.Helper()
	data, err := p.Marshal()
	must(t, err)
	p, err = sessionlog.Unmarshal(data)
	must(t, err)
	if p.Base {
		s.replica, err = Create(t.Context(), filepath.Join(t.TempDir(), "session.db"), p, Options{})
		must(t, err)
		made := s.replica
		t.Cleanup(func() { must(t, made.Close()) })
	}
	must(t, tryReplay(t, s.replica, p))
}

// tryReplay puts p into f, or nothing.
func tryReplay(t testing.TB, f *File, p sessionlog.Push) error {
	r, err := f.Replay(t.Context())
	if err != nil {
		return err
	}
	if err := r.Apply(t.Context(), p); err != nil {
		return errors.Join(err, r.Rollback())
	}
	return r.Commit(t.Context())
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func dump(t testing.TB, f *File) map[string][]string {
	t.Helper()
	d, err := capturetest.Dump(context.Background(), f.DB())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// compare fails the test unless the replica equals the session row by row.
func (s *session) compare(t testing.TB) {
	t.Helper()
	if diff := cmp.Diff(dump(t, s.File), dump(t, s.replica)); diff != "" {
		t.Fatalf("replica differs (-session +replica):\n%s", diff)
	}
	if err := s.replica.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
}
