package ownership

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"cloudsession/shared/cloudstore"
)

// fakeStore holds one connectors row, with TiDB's clock under the test's hand.
type fakeStore struct {
	Store
	incarnation string
	dead        bool
	loseAnswer  bool // the swap happens, its answer is lost
	asked       int
	down        bool
}

var errDown = errors.New("connection refused")

func (f *fakeStore) RegisterConnector(_ context.Context, c cloudstore.Connector, stored string, _ time.Duration) error {
	f.asked++
	if f.down {
		return errDown
	}
	if f.incarnation != "" && f.incarnation != stored && !f.dead {
		return cloudstore.ErrIncarnation
	}
	f.incarnation, f.dead = c.Incarnation, false
	if f.loseAnswer {
		f.loseAnswer = false
		return errDown
	}
	return nil
}

func (f *fakeStore) RenewLease(_ context.Context, _, incarnation string, _ time.Duration, _ cloudstore.Load) (cloudstore.LeaseGrant, error) {
	if f.down {
		return cloudstore.LeaseGrant{}, errDown
	}
	if f.incarnation != incarnation || f.dead {
		return cloudstore.LeaseGrant{}, cloudstore.ErrFenced
	}
	return cloudstore.LeaseGrant{}, nil
}

func options(t *testing.T, store Store, dir *Dir, now *time.Duration) Options {
	t.Helper()
	return Options{
		Store: store, Dir: dir, Connector: cloudstore.Connector{ID: "a"},
		Load: func() cloudstore.Load { return cloudstore.Load{} }, Log: slog.New(slog.DiscardHandler),
		now: func() time.Duration { return *now },
	}
}

func openDir(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func TestLeaseRunsOutOnTheBootClock(t *testing.T) {
	var now time.Duration
	store := &fakeStore{}
	l, err := Register(t.Context(), options(t, store, openDir(t, t.TempDir()), &now))
	if err != nil {
		t.Fatal(err)
	}
	now = LeaseDuration - 1
	if left := l.Remaining(); left != 1 || !l.Answered() {
		t.Errorf("%v left, answered %v; want 1ns and true", left, l.Answered())
	}
	if !l.Valid() {
		t.Error("lease over before its time")
	}
	now = LeaseDuration
	if l.Valid() {
		t.Error("lease valid after its time")
	}
	now += time.Hour
	if left := l.Remaining(); left != 0 {
		t.Errorf("%v left long after its end", left)
	}
	store.down = true
	if err := l.Renew(t.Context()); err == nil || errors.Is(err, ErrLost) {
		t.Errorf("renewal while TiDB is down: got %v, want an error that is not final", err)
	}
	if l.Answered() {
		t.Error("a renewal that failed counts as answered")
	}
	store.down = false
	if err := l.Renew(t.Context()); err != nil || !l.Valid() {
		t.Errorf("renewal after the outage: %v, valid %v", err, l.Valid())
	}
	if !l.Answered() {
		t.Error("the renewal after the outage doesn't count as answered")
	}
	store.dead = true
	if err := l.Renew(t.Context()); !errors.Is(err, ErrLost) {
		t.Errorf("renewal of a buried connector: got %v, want ErrLost", err)
	}
}

func TestRegisterFollowsItsOwnDirectory(t *testing.T) {
	var now time.Duration
	store, path := &fakeStore{}, t.TempDir()
	dir := openDir(t, path)

	store.loseAnswer = true
	if _, err := Register(t.Context(), options(t, store, dir, &now)); err == nil {
		t.Fatal("a lost answer went unnoticed")
	}
	// The swap may have happened: the next start must succeed either way.
	first, err := Register(t.Context(), options(t, store, dir, &now))
	if err != nil {
		t.Fatalf("start after a lost answer: %v", err)
	}
	second, err := Register(t.Context(), options(t, store, dir, &now))
	if err != nil {
		t.Fatalf("restart in the same directory: %v", err)
	}
	if err := first.Renew(t.Context()); !errors.Is(err, ErrLost) {
		t.Errorf("the replaced incarnation renewed: %v", err)
	}
	if err := second.Renew(t.Context()); err != nil {
		t.Error(err)
	}
	other := openDir(t, t.TempDir())
	if _, err := Register(t.Context(), options(t, store, other, &now)); !errors.Is(err, cloudstore.ErrIncarnation) {
		t.Errorf("another directory took a live connector's id: %v", err)
	}
	store.dead = true
	if _, err := Register(t.Context(), options(t, store, other, &now)); err != nil {
		t.Errorf("another directory could not take a dead connector's id: %v", err)
	}
}

// A process that waits for a name tries again and again. It asks no more of the
// live one's row each time, and forgets nothing that may stand there.
func TestWaitingForANameKeepsFewCandidates(t *testing.T) {
	var now time.Duration
	store, dir := &fakeStore{}, openDir(t, t.TempDir())
	store.loseAnswer = true
	if _, err := Register(t.Context(), options(t, store, dir, &now)); err == nil {
		t.Fatal("a lost answer went unnoticed")
	}
	mine := store.incarnation // swapped in, as nobody told
	store.incarnation = "another's"
	for range 20 {
		store.asked = 0
		if _, err := Register(t.Context(), options(t, store, dir, &now)); !errors.Is(err, cloudstore.ErrIncarnation) {
			t.Fatalf("register: %v, want the name refused", err)
		}
		if store.asked != 1 {
			t.Fatalf("asked %d times, want once for the one candidate", store.asked)
		}
	}
	store.incarnation = mine
	if _, err := Register(t.Context(), options(t, store, dir, &now)); err != nil {
		t.Errorf("the swap whose answer was lost is not recognised: %v", err)
	}
}

func TestDirIsHeldOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	openDir(t, path)
	if _, err := OpenDir(path); !errors.Is(err, ErrDirInUse) {
		t.Errorf("second open: got %v, want ErrDirInUse", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o700 {
		t.Errorf("data directory has mode %v", info.Mode().Perm())
	}
}

func TestHighWaterOnlyRises(t *testing.T) {
	path := filepath.Join(t.TempDir(), "highwater.json")
	marks := []HighWater{{Epoch: 2, Seq: 5}, {Epoch: 1, Seq: 9}, {Epoch: 2, Seq: 4}}
	for _, m := range marks {
		if err := m.Raise(path); err != nil {
			t.Fatal(err)
		}
	}
	got, err := LoadHighWater(path)
	if err != nil || got.Epoch != 2 || got.Seq != 5 {
		t.Errorf("got %+v, %v; want epoch 2, seq 5", got, err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadHighWater(path); !errors.Is(err, ErrDamagedMark) {
		t.Errorf("a damaged mark: got %v, want ErrDamagedMark", err)
	}
	if err := (HighWater{Epoch: 3}).Raise(path); err != nil {
		t.Fatal(err)
	}
	if got, err := LoadHighWater(path); err != nil || got.Epoch != 3 {
		t.Errorf("after replacing a damaged mark: %+v, %v", got, err)
	}
}
