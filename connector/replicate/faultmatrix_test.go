package replicate

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"cloudsession/shared/cloudstore"
)

// story is a session's life from the first push over a compaction to the seal.
// It returns what a restore must show.
func story(l *live) (map[string][]string, error) {
	ctx := l.limit()
	l.steps(15)
	if err := l.repl.Flush(ctx); err != nil {
		return nil, err
	}
	l.steps(15)
	if err := l.repl.WaitDurable(ctx); err != nil {
		return nil, err
	}
	_, err := l.file.DB().ExecContext(ctx, "UPDATE whatsmeow_device SET push_name = 'renamed'")
	l.must(err)
	if err := l.repl.Flush(ctx); err != nil {
		return nil, err
	}
	l.steps(15)
	if err := l.repl.Rebase(ctx, true); err != nil {
		return nil, err
	}
	l.steps(15)
	if err := l.handOff(); err != nil {
		return nil, err
	}
	return l.dump(l.file), nil
}

// slowly makes only requests start pushes, so that a story's calls are the same each time.
func slowly(o *Options) {
	o.Coalesce = 1 << 50
	o.TouchEvery, o.CopyEvery = 1<<50, 1<<50
}

// TestFaultMatrix spoils every call of the store in a session's story, once each, in two ways. The
// story goes on, and what is restored is what was there.
func TestFaultMatrix(t *testing.T) {
	g := newRig(t, newMemory(), slowly)
	if _, err := story(g.pair("personal", 1)); err != nil {
		t.Fatal(err)
	}
	calls := g.store.calls()
	t.Logf("%d calls: %v", len(calls), calls)
	for _, op := range []string{"firstbase", "append", "credentials", "owner", "prune", "seal"} {
		if !slices.Contains(calls, op) {
			t.Errorf("the story has no %s", op)
		}
	}
	for at := range calls {
		if at%stride != 0 {
			continue
		}
		for _, kind := range []fault{lost, lostPersisted} {
			t.Run(fmt.Sprintf("%02d-%s-%d", at, calls[at], kind), func(t *testing.T) {
				g := newRig(t, newMemory(), slowly)
				g.store.set(only(at, kind, nil))
				l := g.pair("personal", 1)
				want, err := story(l)
				for tries := 0; errors.Is(err, driver.ErrBadConn) && tries < 3; tries++ {
					// A command that failed is given again.
					if err = l.repl.Seal(g.limit()); err == nil {
						want = g.dump(l.file)
					}
				}
				if err != nil && want == nil {
					// Reads of Flush and Rebase are not tried again by themselves.
					want, err = story(l)
				}
				g.must(err)
				g.store.set(nil)
				taken, path, _ := g.restored(l.id, "")
				if taken.Start != StartExact {
					t.Errorf("start %s after the seal", taken.Start)
				}
				g.equal("after the fault", want, g.dumpAt(path))
			})
		}
	}
}

// only spoils the call number at, and tells when that happened.
func only(at int, kind fault, happened func()) func(context.Context, string, []string) fault {
	var mu sync.Mutex
	n := -1
	return func(context.Context, string, []string) fault {
		mu.Lock()
		defer mu.Unlock()
		n++
		if n < at || n > at && happened == nil {
			return fine
		}
		if n > at {
			return lost // the process has died: nothing gets through any more
		}
		if happened != nil {
			happened()
		}
		return kind
	}
}

// TestCrashMatrix lets the process die at every call of the store, with the call's effect and without.
// Whatever was reported durable is there afterwards, in the own file and in a restored one.
func TestCrashMatrix(t *testing.T) {
	g := newRig(t, newMemory(), slowly)
	if _, err := story(g.pair("personal", 1)); err != nil {
		t.Fatal(err)
	}
	calls := g.store.calls()
	for at := range calls {
		if at%stride != 0 {
			continue
		}
		for _, kind := range []fault{lost, lostPersisted} {
			for _, own := range []bool{true, false} {
				t.Run(fmt.Sprintf("%02d-%s-%d-own=%v", at, calls[at], kind, own), func(t *testing.T) {
					crashAt(t, at, kind, own)
				})
			}
		}
	}
}

func crashAt(t *testing.T, at int, kind fault, own bool) {
	g := newRig(t, newMemory(), slowly)
	died := make(chan struct{})
	g.store.set(only(at, kind, func() { close(died) }))
	l := g.pair("personal", 1)
	alive := make(chan struct{})
	durable := &snapshots{}
	go func() {
		defer close(alive)
		tellStory(l, durable, died)
	}()
	select {
	case <-died:
	case <-alive: // pruning is nobody's wait: one prune may do for two bases
	}
	g.crash() // the waits of the story end with ErrClosed
	<-alive
	g.store.set(nil)

	if own {
		want := g.dump(l.file)
		l = l.restart(g.boot)
		if l.taken.Start != StartOwnFile {
			t.Fatalf("start %s in the same boot", l.taken.Start)
		}
		l.flush()
		_, path, _ := g.restored(l.id, "")
		g.equal("from the own file", want, g.dumpAt(path))
		return
	}
	taken := g.take(l.id, false, judgeOf(g))
	path := filepath.Join(t.TempDir(), "restored.db")
	found, err := Restore(t.Context(), g.store, g.keys, taken, path)
	if errors.Is(err, ErrNothing) && durable.last == nil {
		return // it died before anything was durable
	}
	g.must(err)
	if found.CredentialsOnly {
		t.Fatal("credentials without the base they go with")
	}
	got := g.dumpAt(path)
	if !durable.has(got) {
		g.equal("after a crash", durable.last, got)
	}
}

func judgeOf(g *rig) func(p cloudstore.Parent) string {
	return func(p cloudstore.Parent) string {
		if ok, err := JudgeExact(g.keys, p, HighWater{}); err == nil && ok {
			return StartExact
		}
		return StartSafe
	}
}

// snapshots are the states a restore may show: the last one reported durable, and the one that was
// being pushed when the process died.
type snapshots struct {
	last, next map[string][]string
}

func (s *snapshots) has(got map[string][]string) bool {
	return sameDump(s.last, got) || sameDump(s.next, got)
}

func sameDump(a, b map[string][]string) bool {
	if len(a) != len(b) {
		return false
	}
	for name := range a {
		if !slices.Equal(a[name], b[name]) {
			return false
		}
	}
	return true
}

// tellStory is story, step by step, until the process dies.
func tellStory(l *live, s *snapshots, died <-chan struct{}) {
	ctx := l.limit()
	for i, do := range []func(context.Context) error{
		l.repl.WaitDurable, l.repl.Flush, l.repl.WaitDurable, l.repl.Flush,
		func(ctx context.Context) error { return l.repl.Rebase(ctx, true) },
		func(context.Context) error { return l.handOff() },
	} {
		select {
		case <-died:
			return
		default:
		}
		if i > 0 { // the first base is read at once: it must not catch a state in between
			l.steps(15)
		}
		if s.next = l.dump(l.file); do(ctx) != nil {
			return
		}
		s.last = s.next
	}
}
