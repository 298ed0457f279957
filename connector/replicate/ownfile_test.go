package replicate

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"cloudsession/connector/capture"
	"cloudsession/connector/capture/capturetest"
	"cloudsession/shared/cloudstore"
)

// restart is what a connector does with a session after its process died: it takes it, and goes on
// with its own file if that may be, or restores.
func (l *live) restart(boot string) *live {
	l.Helper()
	path := l.file.Path()
	if err := l.file.Close(); err != nil && !errors.Is(err, capture.ErrClosed) {
		l.Fatal(err)
	}
	next := &live{rig: l.rig, id: l.id}
	next.open(path)
	state, err := next.file.State(l.ctx())
	l.must(err)
	inode, err := capture.Inode(path)
	l.must(err)
	next.taken = l.take(l.id, false, func(p cloudstore.Parent) string {
		if CanResumeOwnFile(state, p, boot, inode) {
			return StartOwnFile
		}
		return StartSafe
	})
	if next.taken.Start == StartSafe {
		l.must(next.file.Close())
		path = filepath.Join(l.TempDir(), "safe.db")
		found, err := Restore(l.ctx(), l.store, l.keys, next.taken, path)
		l.must(err)
		return l.resume(next.taken, path, found, 1)
	}
	next.ops, err = capturetest.NewOps(l.ctx(), next.file.DB(), next.taken.Epoch<<40)
	l.must(err)
	_, err = next.file.Install(l.ctx())
	l.must(err)
	next.attach(Term{Start: StartOwnFile})
	return next
}

// bulk makes a change of about n bytes that doesn't shrink.
func (l *live) bulk(n int, first int) {
	l.Helper()
	for i := 0; n > 0; i++ {
		size := min(n, 64<<10)
		l.must(l.ops.Device.Sessions.PutSession(l.ctx(), fmt.Sprintf("bulk%d:0", first+i), noise(size)))
		n -= size
	}
}

// noise is data that can't be compressed.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

func TestOwnFile(t *testing.T) {
	onBoth(t, func(t *testing.T, c cloud) {
		for _, big := range []bool{false, true} {
			for _, kind := range []fault{fine, lost, lostPersisted} {
				t.Run(fmt.Sprintf("big=%v,fault=%d", big, kind), func(t *testing.T) {
					testOwnFile(t, c, big, kind)
				})
			}
		}
	})
}

func testOwnFile(t *testing.T, c cloud, big bool, kind fault) {
	g := newRig(t, c, func(o *Options) { o.GroupBytes = 1 << 20 }) // a part a statement
	l := g.pair(fmt.Sprintf("personal %v %d", big, kind), 1)
	l.steps(20)
	l.flush()

	appends, last := 0, 2
	if big {
		last = 3
	}
	ctx := g.untilTried("append", last, func(op string) fault {
		if op != "append" {
			return fine
		}
		appends++ // one lane: no race
		if !big || appends == 2 {
			return kind
		}
		if appends > 2 {
			return lost // the process is as good as dead
		}
		return fine
	})
	if big {
		l.bulk(3<<20, 0)
	}
	l.steps(20)
	_ = l.repl.WaitDurable(ctx)
	want := g.dump(l.file)
	g.crash()
	g.store.set(nil)

	l = l.restart(g.boot)
	if l.taken.Start != StartOwnFile {
		t.Fatalf("start %s", l.taken.Start)
	}
	g.equal("own file", want, g.dump(l.file))
	l.flush()
	_, path, _ := g.restored(l.id, "")
	g.equal("pushed on from the own file", want, g.dumpAt(path))
}

// A start from the own file that is interrupted before anything came of it doesn't
// make the next one drop what the file alone holds.
func TestOwnFileAfterAnInterruptedStart(t *testing.T) {
	onBoth(t, func(t *testing.T, c cloud) {
		g := newRig(t, c)
		l := g.pair("personal", testSeed(t))
		l.steps(20)
		l.flush()
		ctx := g.untilTried("append", 2, always(lost))
		l.steps(20)
		_ = l.repl.WaitDurable(ctx)
		want := g.dump(l.file)
		g.crash()
		g.store.set(nil)

		path := l.file.Path()
		state, err := l.file.State(t.Context())
		g.must(err)
		inode, err := capture.Inode(path)
		g.must(err)
		judge := func(p cloudstore.Parent) string {
			if CanResumeOwnFile(state, p, g.boot, inode) {
				return StartOwnFile
			}
			return StartSafe
		}
		if start := g.take(l.id, false, judge).Start; start != StartOwnFile { // and then the process ended
			t.Fatalf("start %s", start)
		}
		l = l.restart(g.boot)
		if l.taken.Start != StartOwnFile {
			t.Fatalf("start %s after an interrupted one", l.taken.Start)
		}
		g.equal("own file", want, g.dump(l.file))
		l.flush()
		g.crash()

		// But not behind a term that began otherwise.
		state, err = l.file.State(t.Context())
		g.must(err)
		g.take(l.id, false, func(cloudstore.Parent) string { return StartSafe })
		if start := g.take(l.id, false, judge).Start; start != StartSafe {
			t.Errorf("start %s from the own file behind a safe start elsewhere", start)
		}
		_, path, _ = g.restored(l.id, "")
		g.equal("pushed on from the own file", want, g.dumpAt(path))
	})
}

func TestOwnFileOfAnotherBootOrPlace(t *testing.T) {
	g := newRig(t, newMemory())
	l := g.pair("personal", 1)
	l.steps(20)
	l.flush()
	copied := filepath.Join(t.TempDir(), "copy.db")
	g.must(l.file.Close())
	data, err := os.ReadFile(l.file.Path())
	g.must(err)
	g.must(os.WriteFile(copied, data, 0o600))
	l.open(l.file.Path())
	state, err := l.file.State(t.Context())
	g.must(err)
	inode, err := capture.Inode(l.file.Path())
	g.must(err)
	copyInode, err := capture.Inode(copied)
	g.must(err)
	g.take(l.id, false, func(p cloudstore.Parent) string {
		other, later, newer := p, p, state
		other.Owner.SessionID = "another"
		later.Epoch.Epoch++
		newer.Acked.Seq--
		tag := p
		tag.LastTag[0]++
		creds := p
		creds.Owner.Backup = cloudstore.BackupCredentials
		for what, got := range map[string]bool{
			"another boot":     CanResumeOwnFile(state, p, "other", inode),
			"no boot id":       CanResumeOwnFile(state, p, "", inode),
			"another inode":    CanResumeOwnFile(state, p, g.boot, copyInode),
			"another session":  CanResumeOwnFile(state, other, g.boot, inode),
			"a later epoch":    CanResumeOwnFile(state, later, g.boot, inode),
			"log goes further": CanResumeOwnFile(newer, p, g.boot, inode),
			"another tag":      CanResumeOwnFile(state, tag, g.boot, inode),
			"credentials only": CanResumeOwnFile(state, creds, g.boot, inode),
			"no state":         CanResumeOwnFile(capture.State{}, p, g.boot, inode),
		} {
			if got {
				t.Errorf("%s: the own file would be resumed", what)
			}
		}
		if !CanResumeOwnFile(state, p, g.boot, inode) {
			t.Error("the own file would not be resumed")
		}
		return StartSafe
	})
}

// TestSafeStartIsRepeated: a file that was made safe, but never connected because its base was not
// durable, is not an own file to go on with.
func TestSafeStartIsRepeated(t *testing.T) {
	for _, kind := range []fault{lost, lostPersisted} {
		t.Run(fmt.Sprint(kind), func(t *testing.T) {
			g := newRig(t, newMemory())
			l := g.pair("personal", 1)
			l.steps(20)
			l.flush()
			g.crash()
			taken, path, found := g.restored(l.id, StartSafe)
			ctx := g.untilTried("firstbase", 2, func(op string) fault {
				if op == "firstbase" {
					return kind
				}
				return fine
			})
			l = g.resume(taken, path, found, 1)
			if err := l.repl.Flush(ctx); !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			g.crash()
			g.store.set(nil)
			l = l.restart(g.boot)
			if want := map[fault]string{lost: StartSafe, lostPersisted: StartOwnFile}[kind]; l.taken.Start != want {
				t.Errorf("start %s, not %s", l.taken.Start, want)
			}
		})
	}
}

// TestUnpushedNewSession: the only copy of a new session is its file.
func TestUnpushedNewSession(t *testing.T) {
	g := newRig(t, newMemory())
	ctx := g.untilTried("firstbase", 2, always(lost))
	l := g.pair("personal", 1)
	if err := l.repl.Flush(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	g.crash()
	g.store.set(nil)
	want := g.dump(l.file)
	l = l.restart(g.boot)
	if l.taken.Start != StartOwnFile {
		t.Fatalf("start %s", l.taken.Start)
	}
	l.flush()
	_, path, _ := g.restored(l.id, "")
	g.equal("a session that was never pushed", want, g.dumpAt(path))
}

// TestMultiPartBaseCut restores a lineage whose newest base was cut off in the middle.
func TestMultiPartBaseCut(t *testing.T) {
	onBoth(t, func(t *testing.T, c cloud) {
		g := newRig(t, c, func(o *Options) {
			o.GroupBytes, o.StatementTimeout = 1<<20, patience // rows are counted by their statements
		})
		l := g.pair("personal", 1)
		l.bulk(3<<20, 0)
		l.flush()
		want := g.dump(l.file)
		g.must(l.repl.Rebase(g.limit(), false))
		heads := rowsOfEpoch(g, l.id, 1)
		if last := heads[len(heads)-1]; last.Kind != cloudstore.KindBase || last.Parts < 3 {
			t.Fatalf("the last row is part of a %s of %d parts", last.Kind, last.Parts)
		}
		appends := 0
		g.store.set(func(_ context.Context, op string, _ []string) fault {
			if op == "append" {
				appends++
			}
			if op == "append" && appends > 2 {
				return lost
			}
			return fine
		})
		ctx, giveUp := context.WithCancel(t.Context())
		defer giveUp()
		go l.repl.Rebase(ctx, false) //nolint:errcheck // it is meant to break off
		g.await("the second base to start", func() bool { return len(rowsOfEpoch(g, l.id, 1)) >= len(heads)+2 })
		giveUp()
		g.crash()
		g.store.set(nil)
		taken, path, found := g.restored(l.id, "")
		if taken.ParentSeq != uint64(len(heads)+2) || found.Cursor.Seq != taken.ParentSeq {
			t.Errorf("restored up to %+v, taken at %d", found.Cursor, taken.ParentSeq)
		}
		g.equal("before the cut base", want, g.dumpAt(path))

		// The next term chains to the last part of what was cut off.
		l = g.resume(taken, path, found, 1)
		l.steps(10)
		g.must(l.handOff())
		want = g.dump(l.file)
		taken, path, _ = g.restored(l.id, "")
		if taken.Start != StartExact {
			t.Errorf("start %s", taken.Start)
		}
		g.equal("behind the cut base", want, g.dumpAt(path))
	})
}

func rowsOfEpoch(g *rig, id string, epoch uint64) []cloudstore.Segment {
	rows, err := g.store.SegmentHeads(g.ctx(), id, epoch)
	g.must(err)
	return rows
}

// TestRestoredFileIsWholeOrAbsent breaks every read of a restore.
func TestRestoredFileIsWholeOrAbsent(t *testing.T) {
	g := newRig(t, newMemory())
	l := g.pair("personal", 1)
	l.steps(100)
	l.flush()
	want := g.dump(l.file)
	g.crash()
	taken, _, _ := g.restored(l.id, "")
	before := len(g.store.calls())
	_, err := Restore(t.Context(), g.store, g.keys, taken, filepath.Join(t.TempDir(), "x.db"))
	g.must(err)
	steps := len(g.store.calls()) - before
	dir := t.TempDir()
	path := filepath.Join(dir, "session.db")
	for at := range steps {
		n := 0
		g.store.set(func(context.Context, string, []string) fault {
			n++
			if n == at+1 {
				return lost
			}
			return fine
		})
		if _, err := Restore(t.Context(), g.store, g.keys, taken, path); !errors.Is(err, driver.ErrBadConn) {
			t.Errorf("call %d broken: %v", at, err)
		}
		if left, _ := filepath.Glob(dir + "/*"); len(left) != 0 {
			t.Errorf("call %d broken: left %v", at, left)
		}
	}
	g.store.set(nil)
	// What a crash leaves doesn't get into the next file.
	for _, name := range []string{"session.db.restoring", "session.db.restoring-wal", "session.db.restoring-shm"} {
		g.must(os.WriteFile(filepath.Join(dir, name), bytes.Repeat([]byte("garbage"), 1000), 0o600))
	}
	_, err = Restore(t.Context(), g.store, g.keys, taken, path)
	g.must(err)
	if left, _ := filepath.Glob(dir + "/*"); len(left) != 1 {
		t.Errorf("left %v", left)
	}
	g.equal("after a crashed restore", want, g.dumpAt(path))
	if _, err := Restore(t.Context(), g.store, g.keys, taken, path); !errors.Is(err, os.ErrExist) {
		t.Errorf("restored over a file: %v", err)
	}
	for _, stale := range []string{"-wal", "-shm"} {
		path := filepath.Join(t.TempDir(), "session.db")
		g.must(os.WriteFile(path+stale, []byte("stale"), 0o600))
		if _, err := Restore(t.Context(), g.store, g.keys, taken, path); !errors.Is(err, os.ErrExist) {
			t.Errorf("restored beside a stale %s: %v", stale, err)
		}
	}
}
