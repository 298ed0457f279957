package replicate

import (
	"errors"
	"path/filepath"
	"testing"

	"cloudsession/connector/capture"
	"cloudsession/shared/cloudstore"
)

func (g *rig) rows(id string, epoch uint64) int {
	g.Helper()
	heads, err := g.store.SegmentHeads(g.ctx(), id, epoch)
	g.must(err)
	return len(heads)
}

// switched is a session that had a log when its credentials alone were chosen, in its first term since.
func switched(t *testing.T, c cloud) *live {
	t.Helper()
	g := newRig(t, c)
	l := g.pair("personal", 8)
	l.steps(40)
	g.must(g.store.SetBackup(t.Context(), l.id, cloudstore.BackupCredentials))
	l.steps(10) // the term under way goes on as it began
	l.flush()
	want := g.dump(l.file)
	g.must(l.handOff())

	g.restored(l.id, "") // a start that comes to nothing
	taken, path, found := g.restored(l.id, "")
	if taken.Start != StartSafe || found.CredentialsOnly {
		t.Fatalf("the first start: %s, restored %+v", taken.Start, found)
	}
	g.equal("the first start", want, g.dumpAt(path)) // what is acknowledged and not delivered stands there alone
	l = g.resume(taken, path, found, 1)
	l.steps(20)
	l.flush()
	return l
}

// Of the log from before the choice nothing is used after the first start, whoever starts, and
// whatever is chosen then.
func TestLogBeforeCredentialsOnlyIsNotUsed(t *testing.T) {
	onBoth(t, func(t *testing.T, c cloud) {
		for _, backup := range []string{cloudstore.BackupCredentials, cloudstore.BackupFull} {
			l := switched(t, c)
			if n := l.rows(l.id, l.taken.Epoch); n != 0 {
				t.Errorf("%d rows of a log were pushed", n)
			}
			l.must(l.store.SetBackup(t.Context(), l.id, backup))
			l.crash()
			taken := l.take(l.id, false, func(p cloudstore.Parent) string {
				if ok, err := JudgeExact(l.keys, p, HighWater{}); ok || err != nil {
					t.Errorf("exact: %v, %v", ok, err)
				}
				return StartSafe
			})
			found, err := Restore(t.Context(), l.store, l.keys, taken, filepath.Join(t.TempDir(), "restored.db"))
			l.must(err)
			if !found.CredentialsOnly {
				t.Errorf("with %s restored %+v", backup, found)
			}
		}
	})
}

// Its own machine goes on with its file, but not as it is: what a connector does that has not heard
// of the choice yet is no log to be exact about.
func TestFullChosenAndNotHeardOf(t *testing.T) {
	onBoth(t, func(t *testing.T, c cloud) {
		l := switched(t, c)
		l.must(l.store.SetBackup(t.Context(), l.id, cloudstore.BackupFull))
		l.crash()
		path := l.file.Path()
		state, err := l.file.State(t.Context())
		l.must(err)
		inode, err := capture.Inode(path)
		l.must(err)
		l.take(l.id, false, func(p cloudstore.Parent) string {
			if CanResumeOwnFile(state, p, l.boot, inode) {
				t.Error("its file is resumed as it is")
			}
			if !HoldsNewest(state, p, inode) {
				t.Error("its file is not begun with")
			}
			return StartSafe
		})
		// Another machine's term comes in between: the file is not the newest any more.
		l.take(l.id, false, func(p cloudstore.Parent) string {
			if CanResumeOwnFile(state, p, l.boot, inode) || HoldsNewest(state, p, inode) && p.Epoch.Epoch > state.Epoch+1 {
				t.Error("an old file passes for the newest")
			}
			return StartSafe
		})
	})
}

// Everything is chosen while the session is open: a base is pushed at once, and from then on it is
// restored exactly, or from its own file.
func TestKeepAll(t *testing.T) {
	onBoth(t, func(t *testing.T, c cloud) {
		for _, crash := range []bool{false, true} {
			l := switched(t, c)
			l.must(l.store.SetBackup(t.Context(), l.id, cloudstore.BackupFull))
			l.repl.KeepAll()
			l.await("a base", func() bool { return l.rows(l.id, l.taken.Epoch) > 0 && !l.repl.Status().Pending })
			if got := l.repl.Backup(); got != cloudstore.BackupFull {
				t.Errorf("backup %s", got)
			}
			l.steps(30)
			l.flush()
			want := l.dump(l.file)
			if crash {
				l.crash()
				if next := l.restart(l.boot); next.taken.Start != StartOwnFile {
					t.Errorf("after a crash: start %s", next.taken.Start)
				}
				continue
			}
			l.must(l.handOff())
			taken, path, _ := l.restored(l.id, "")
			if taken.Start != StartExact {
				t.Errorf("start %s", taken.Start)
			}
			l.equal("everything is kept again", want, l.dumpAt(path))
		}
	})
}

// A rekey leaves nothing that an old secret can open, of the log from before the choice either.
func TestRebaseOfCredentialsOnly(t *testing.T) {
	onBoth(t, func(t *testing.T, c cloud) {
		l := switched(t, c)
		l.must(l.repl.Rebase(l.limit(), false))
		before := l.rows(l.id, 1)
		l.must(l.repl.Rebase(l.limit(), true))
		for _, row := range rowsOfEpoch(l.rig, l.id, 1) {
			if row.Kind.IsData() {
				t.Fatalf("row %d is still there, of %d before", row.Seq, before)
			}
		}
		l.crash()
		if _, _, found := l.restored(l.id, StartSafe); !found.CredentialsOnly {
			t.Errorf("restored %+v", found)
		}
	})
}

// A DELETE leaves a mark that no push of such a term meets. Its end does.
func TestSealOfADeletedCopy(t *testing.T) {
	onBoth(t, func(t *testing.T, c cloud) {
		for _, deleted := range []bool{false, true} {
			l := switched(t, c)
			if deleted {
				l.must(l.store.DeleteSession(t.Context(), l.id))
			}
			if err := l.repl.Seal(l.limit()); deleted != errors.Is(err, ErrFenced) || !deleted && err != nil {
				t.Errorf("deleted %v: the end: %v", deleted, err)
			}
		}
	})
}
