package replicate

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cloudsession/connector/capture"
	"cloudsession/connector/capture/capturetest"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/envelope"
	"cloudsession/shared/sessionlog"
)

func TestPushedIsRestored(t *testing.T) {
	onBoth(t, func(t *testing.T, c cloud) {
		g := newRig(t, c)
		l := g.pair("toko ☕", 1)
		l.steps(200)
		l.flush()
		want := g.dump(l.file)

		_, path, found := g.restored(l.id, "")
		g.equal("after a flush", want, g.dumpAt(path))
		if found.CredentialsOnly || found.Pushes == 0 || found.Salt != l.repl.salt || found.Cursor != l.repl.Status().Cursor {
			t.Errorf("restored %+v, session at %+v", found, l.repl.Status())
		}
		row, err := g.store.Credentials(t.Context(), l.id)
		g.must(err)
		opened, err := g.keys.Open(envelope.CredentialsPosition(l.id), row.Data)
		g.must(err)
		if !strings.Contains(string(opened.Plaintext), `"creds"`) || opened.Salt != l.repl.salt {
			t.Errorf("credentials row holds %d bytes under salt %x", len(opened.Plaintext), opened.Salt)
		}
	})
}

func TestFlushShowsTheTimes(t *testing.T) {
	m := newMemory()
	g := newRig(t, m, slowly) // else the next touch may come before the times are read
	l := g.pair("personal", 1)
	l.flush()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.synced[l.id].IsZero() || !m.synced[l.id].Equal(m.owners[l.id].SyncedAt) {
		t.Errorf("last_synced_at %v, synced_at %v", m.synced[l.id], m.owners[l.id].SyncedAt)
	}
}

// handOff closes a session the way O6 says.
func (l *live) handOff() error {
	err := l.repl.Reopen(l.limit(), func(ctx context.Context) (*capture.File, error) {
		if err := l.file.Close(); err != nil {
			return nil, err
		}
		f, err := capture.Open(ctx, l.file.Path(), capture.Options{})
		if err == nil {
			l.file = f
		}
		return f, err
	})
	if err != nil {
		return err
	}
	return l.repl.Seal(l.limit())
}

// resume goes on in a restored file, under the term it was restored for.
func (g *rig) resume(taken cloudstore.Taken, path string, found Restored, seed uint64) *live {
	g.Helper()
	l := &live{rig: g, id: taken.SessionID, taken: taken}
	l.open(path)
	var err error
	l.ops, err = capturetest.NewOps(g.ctx(), l.file.DB(), seed^taken.Epoch<<40) // other data than before
	g.must(err)
	changed, err := l.file.Install(g.ctx())
	g.must(err)
	if changed {
		g.Fatal("the schema changed between two runs of the same program")
	}
	l.attach(Term{Start: taken.Start, Salt: found.Salt, Log: found.Log, Backup: taken.Parent.Owner.Backup})
	return l
}

func TestSealedLogStartsExactly(t *testing.T) {
	onBoth(t, func(t *testing.T, c cloud) {
		g := newRig(t, c)
		l := g.pair("personal", 2)
		for round := range 4 {
			if round != 2 { // a term that pushes nothing has a seal all the same
				l.steps(60)
			}
			g.must(l.handOff())
			want := g.dump(l.file)
			<-l.repl.Done()
			if err := l.repl.Err(); !errors.Is(err, ErrSealed) {
				t.Fatalf("after the seal: %v", err)
			}
			taken, path, found := g.restored(l.id, "")
			if taken.Start != StartExact {
				t.Fatalf("round %d: start %s after a seal", round, taken.Start)
			}
			g.equal("after a handoff", want, g.dumpAt(path))
			l = g.resume(taken, path, found, uint64(round))
		}
		rows, err := g.store.Segments(t.Context(), l.id, 2, 1, allRows)
		g.must(err)
		if len(rows) == 0 || rows[0].Kind != cloudstore.KindDelta {
			t.Errorf("an exact start begins with %v, not with a delta", rows)
		}
	})
}

func TestSafeStartBeginsWithBase(t *testing.T) {
	onBoth(t, func(t *testing.T, c cloud) {
		g := newRig(t, c)
		l := g.pair("personal", 3)
		l.steps(50)
		l.flush()
		g.crash()
		taken, path, found := g.restored(l.id, "")
		if taken.Start != StartSafe {
			t.Fatalf("start %s after a crash", taken.Start)
		}
		l = g.resume(taken, path, found, 4)
		l.flush()
		rows, err := g.store.Segments(t.Context(), l.id, taken.Epoch, 1, allRows)
		g.must(err)
		if len(rows) == 0 || rows[0].Kind != cloudstore.KindBase {
			t.Fatalf("a safe start begins with %d rows, the first a %v", len(rows), rows)
		}
		l.steps(30)
		l.flush()
		want := g.dump(l.file)
		_, path, _ = g.restored(l.id, "")
		g.equal("after a safe start", want, g.dumpAt(path))
	})
}

func TestFencedInTheMiddle(t *testing.T) {
	onBoth(t, func(t *testing.T, c cloud) {
		g := newRig(t, c)
		l := g.pair("personal", 5)
		l.steps(50)
		l.flush()
		want := g.dump(l.file)
		_, path, _ := g.restored(l.id, StartSafe)

		l.steps(50)
		if err := l.repl.Flush(g.limit()); !errors.Is(err, ErrFenced) {
			t.Fatalf("flush after another's take: %v", err)
		}
		<-l.repl.Done()
		for what, err := range map[string]error{
			"err": l.repl.Err(), "flush": l.repl.Flush(t.Context()), "wait": l.repl.WaitDurable(t.Context()), "seal": l.repl.Seal(t.Context()),
		} {
			if !errors.Is(err, ErrFenced) {
				t.Errorf("%s of a fenced session: %v", what, err)
			}
		}
		g.equal("after a fence", want, g.dumpAt(path))
	})
}

func TestCleanSessionNoticesTheTake(t *testing.T) {
	onBoth(t, func(t *testing.T, c cloud) {
		g := newRig(t, c)
		l := g.pair("personal", 5)
		l.flush()
		g.take(l.id, false, func(cloudstore.Parent) string { return StartSafe })
		if err := l.repl.Flush(g.limit()); !errors.Is(err, ErrFenced) {
			t.Fatalf("flush with nothing dirty after another's take: %v", err)
		}
	})
}

func TestDeletedSession(t *testing.T) {
	onBoth(t, func(t *testing.T, c cloud) {
		g := newRig(t, c)
		l := g.pair("personal", 6)
		l.flush()
		g.must(g.store.DeleteSession(t.Context(), l.id))
		if err := l.repl.Flush(g.limit()); !errors.Is(err, ErrBackupOff) {
			t.Fatalf("flush with nothing dirty after DELETE: %v", err)
		}
		l.steps(50)
		if err := l.repl.Flush(g.limit()); !errors.Is(err, ErrFenced) {
			t.Fatalf("flush after DELETE: %v", err)
		}
		if _, err := g.store.Credentials(t.Context(), l.id); !errors.Is(err, cloudstore.ErrNotFound) {
			t.Errorf("credentials after DELETE: %v", err)
		}
		// A later sync: a new epoch without parent, in the same file.
		l.repl.Close()
		salt := l.repl.salt
		l.taken = g.take(l.id, true, func(cloudstore.Parent) string { return StartNew })
		l.attach(Term{Start: StartNew, Salt: salt})
		l.flush()
		want := g.dump(l.file)
		_, path, _ := g.restored(l.id, "")
		g.equal("after DELETE and sync", want, g.dumpAt(path))
	})
}

func TestNothingIsPushedWithoutDevice(t *testing.T) {
	g := newRig(t, newMemory())
	l := g.newSession("personal")
	ops, err := capturetest.NewOps(t.Context(), l.file.DB(), 7)
	g.must(err)
	l.ops = ops
	_, err = l.file.DB().ExecContext(t.Context(), "DELETE FROM whatsmeow_device")
	g.must(err)
	_, err = l.file.Install(t.Context())
	g.must(err)
	l.attach(Term{Start: StartNew})
	if err := l.repl.Flush(g.limit()); !errors.Is(err, ErrNoDevice) {
		t.Fatalf("flush without device: %v", err)
	}
	if err := l.repl.Seal(g.limit()); !errors.Is(err, ErrNoDevice) {
		t.Fatalf("seal without device: %v", err)
	}
	if got := g.store.calls(); len(got) != 0 {
		t.Errorf("calls of the store: %v", got)
	}
	g.must(l.ops.Pair(t.Context()))
	l.flush()
	want := g.dump(l.file)

	// And what was pushed stays when the device goes.
	_, err = l.file.DB().ExecContext(t.Context(), "DELETE FROM whatsmeow_device")
	g.must(err)
	if err := l.repl.Flush(g.limit()); !errors.Is(err, ErrNoDevice) {
		t.Fatalf("flush after the device went: %v", err)
	}
	_, path, _ := g.restored(l.id, "")
	g.equal("after the device went", want, g.dumpAt(path))
}

func TestCredentialsOnly(t *testing.T) {
	onBoth(t, func(t *testing.T, c cloud) {
		g := newRig(t, c)
		l := g.newSession("personal")
		g.must(g.store.SetBackup(t.Context(), l.id, cloudstore.BackupCredentials))
		var err error
		l.ops, err = capturetest.NewOps(g.ctx(), l.file.DB(), 8)
		g.must(err)
		_, err = l.file.Install(g.ctx())
		g.must(err)
		l.attach(Term{Start: StartNew, Backup: cloudstore.BackupCredentials})
		l.steps(50)
		l.flush()
		writes := strings.Count(strings.Join(g.store.calls(), " "), "credentials")
		l.steps(50)
		l.flush()
		if again := strings.Count(strings.Join(g.store.calls(), " "), "credentials"); again > writes+1 {
			t.Errorf("credentials written %d times, then %d", writes, again)
		}
		_, err = l.file.DB().ExecContext(g.ctx(), "UPDATE whatsmeow_device SET push_name = 'another'")
		g.must(err)
		g.must(l.handOff())
		heads, err := g.store.SegmentHeads(t.Context(), l.id, l.taken.Epoch)
		g.must(err)
		if len(heads) != 0 {
			t.Errorf("%d rows of a log, seal included", len(heads))
		}
		taken, path, found := g.restored(l.id, "")
		if taken.Start != StartSafe || !found.CredentialsOnly || !strings.Contains(string(found.Credentials), "another") {
			t.Errorf("start %s, restored %+v", taken.Start, found)
		}
		if files, _ := filepath.Glob(filepath.Dir(path) + "/*"); len(files) != 0 {
			t.Errorf("left behind: %v", files)
		}
	})
}

func TestBackupOff(t *testing.T) {
	g := newRig(t, newMemory())
	l := g.newSession("personal")
	var err error
	l.ops, err = capturetest.NewOps(g.ctx(), l.file.DB(), 8)
	g.must(err)
	_, err = l.file.Install(g.ctx())
	g.must(err)
	l.attach(Term{Start: StartNew, Backup: cloudstore.BackupOff})
	l.steps(20)
	for what, do := range map[string]func(context.Context) error{"flush": l.repl.Flush, "wait": l.repl.WaitDurable, "seal": l.repl.Seal} {
		if err := do(g.limit()); !errors.Is(err, ErrBackupOff) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if got := g.store.calls(); len(got) != 0 {
		t.Errorf("calls of the store: %v", got)
	}
}

func TestRebaseUnderAnotherSecret(t *testing.T) {
	onBoth(t, func(t *testing.T, c cloud) {
		g := newRig(t, c)
		l := g.pair("personal", 9)
		l.steps(40)
		g.must(l.handOff())

		const newSecret = "the next secret for tests, 0123456789"
		var err error
		g.keys, err = envelope.NewKeyring(newSecret, secret)
		g.must(err)
		g.crash()
		taken, path, found := g.restored(l.id, "")
		if taken.Start != StartExact {
			t.Fatalf("start %s", taken.Start)
		}
		l = g.resume(taken, path, found, 1)
		g.must(l.repl.Rebase(g.limit(), true))
		want := g.dump(l.file)

		g.keys, err = envelope.NewKeyring(newSecret)
		g.must(err)
		_, path, _ = g.restored(l.id, "")
		g.equal("under the new secret alone", want, g.dumpAt(path))
		row, err := g.store.Credentials(t.Context(), l.id)
		g.must(err)
		if _, err := g.keys.Open(envelope.CredentialsPosition(l.id), row.Data); err != nil {
			t.Errorf("credentials: %v", err)
		}
		heads, err := g.store.SegmentHeads(t.Context(), l.id, 1)
		g.must(err)
		for _, h := range heads {
			if h.Kind.IsData() {
				t.Errorf("row %d of the old secret is left", h.Seq)
			}
		}
	})
}

func TestWrongSecretIsNotASafeStart(t *testing.T) {
	g := newRig(t, newMemory())
	l := g.pair("personal", 9)
	g.must(l.handOff())
	other, err := envelope.NewKeyring("quite another secret, 0123456789abcdef")
	g.must(err)
	g.take(l.id, false, func(p cloudstore.Parent) string {
		if _, err := JudgeExact(other, p, HighWater{}); !errors.Is(err, sessionlog.ErrWrongSecret) {
			t.Errorf("judged with the wrong secret: %v", err)
		}
		return StartSafe
	})
}

func TestAttachTwice(t *testing.T) {
	g := newRig(t, newMemory())
	l := g.pair("personal", 1)
	l.flush()
	first := l.repl
	if err := l.tryAttach(Term{Start: StartNew}); err == nil {
		t.Fatal("attached twice")
	}
	first.Close()
	if err := first.Err(); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	g.must(l.tryAttach(Term{Start: StartNew}))
	l.flush()
}

// TestContinuedTerm attaches a file to its own term again.
func TestContinuedTerm(t *testing.T) {
	m := newMemory()
	g := newRig(t, m)
	l := g.pair("personal", 1)
	l.flush()
	for _, kind := range []fault{lostPersisted, lost} {
		ctx := g.untilTried("append", 2, func(op string) fault {
			if op == "append" {
				return kind
			}
			return fine
		})
		l.steps(20)
		if err := l.repl.WaitDurable(ctx); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		g.crash() // the lane too has let go of the push
		g.store.set(nil)
		err := l.tryAttach(Term{Start: StartNew})
		switch {
		case kind == lostPersisted && err != nil:
			t.Fatal(err)
		case kind == lost && !errors.Is(err, ErrUnknownOutcome):
			t.Fatalf("attached with a push in flight whose bytes are gone: %v", err)
		}
	}
}

// sameLane and otherLane make session ids by the lane they fall into.
func laneOf(id string, lanes int) int {
	h := fnv.New32a()
	h.Write([]byte(id))
	return int(h.Sum32() % uint32(lanes))
}

func idInLane(lane, lanes, n int) string {
	for i := 0; ; i++ {
		if id := fmt.Sprintf("s%d-%d", n, i); laneOf(id, lanes) == lane {
			return id
		}
	}
}

func TestLogLines(t *testing.T) {
	var log recorder
	g := newRig(t, newMemory(), func(o *Options) { o.Log = log.logger() })
	l := g.pair("personal", 1)
	l.flush()
	want := []string{"INFO ✓ Session personal saved to cloud", "INFO ☁️ Session personal synced to cloud"}
	if d := cmp.Diff(want, log.lines()); d != "" {
		t.Errorf("base: (-want +got)\n%s", d)
	}
	_, err := l.file.DB().ExecContext(t.Context(), "DELETE FROM whatsmeow_pre_keys")
	g.must(err)
	g.must(l.ops.Run(t.Context(), "PutSession"))
	g.must(l.repl.WaitDurable(g.limit()))
	if d := cmp.Diff(append(want, "DEBUG ✓ Session personal saved to cloud"), log.lines()); d != "" {
		t.Errorf("delta: (-want +got)\n%s", d)
	}
}

// Credentials that are queued when a base takes newer ones along may be written after it: they are written
// once more then.
func TestOlderCredentialsDontStay(t *testing.T) {
	g := newRig(t, newMemory())
	l := g.pair("personal", 1)
	l.flush()
	g.must(l.handOff())
	taken, path, found := g.restored(l.id, "")
	l = g.resume(taken, path, found, 1)
	l.flush()
	var based atomic.Bool
	g.store.set(func(_ context.Context, op string, _ []string) fault {
		switch {
		case op == "firstbase":
			based.Store(true)
		case op == "credentials" && !based.Load():
			return lost
		}
		return fine
	})
	rename := func(name string) {
		t.Helper()
		_, err := l.file.DB().ExecContext(t.Context(), "UPDATE whatsmeow_device SET push_name = ?", name)
		g.must(err)
	}
	rename("older")
	g.must(l.repl.WaitDurable(g.limit()))
	rename("newest")
	g.must(l.repl.Rebase(g.limit(), false))
	row, err := g.store.Credentials(t.Context(), l.id)
	g.must(err)
	opened, err := g.keys.Open(envelope.CredentialsPosition(l.id), row.Data)
	g.must(err)
	if !strings.Contains(string(opened.Plaintext), "newest") {
		t.Errorf("the credentials are %s", opened.Plaintext)
	}
}
