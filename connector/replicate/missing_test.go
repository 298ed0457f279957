package replicate

import (
	"errors"
	"path/filepath"
	"testing"

	"cloudsession/connector/capture/capturetest"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/sessionlog"
)

// lose deletes a row of the log, as no part of the program does.
func (m *memory) lose(id string, epoch, seq uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.rows, cloudstore.SegmentRef{SessionID: id, Epoch: epoch, Seq: seq})
}

// A log that has lost rows is not a session that never had one: connecting with
// the credentials alone would drop every Signal session in silence.
func TestLostRowsAreNoCredentialsOnlyRestore(t *testing.T) {
	for _, lost := range [][]uint64{{1}, {1, 2}, {2}} {
		m := newMemory()
		g := newRig(t, m, func(o *Options) { o.GroupBytes = 1 << 20 })
		l := g.pair("personal", 1)
		l.bulk(5<<19, 0)
		l.flush()
		g.must(l.repl.Rebase(g.limit(), true))
		g.must(l.handOff())
		heads := rowsOfEpoch(g, l.id, 1)
		if heads = heads[:len(heads)-1]; heads[0].Parts != 3 || len(heads) != 3 {
			t.Fatalf("the log is no base of three parts: %v", heads)
		}
		for _, seq := range lost {
			m.lose(l.id, 1, heads[seq-1].Seq)
		}
		for _, start := range []string{StartExact, StartSafe} {
			taken := g.take(l.id, false, func(cloudstore.Parent) string { return start })
			found, err := Restore(g.ctx(), g.store, g.keys, taken, filepath.Join(t.TempDir(), "restored.db"))
			if !errors.Is(err, sessionlog.ErrMissing) {
				t.Errorf("rows %v lost, start %s: %v, credentials only: %v", lost, start, err, found.CredentialsOnly)
			}
		}
	}
}

// Parts of a first base are all there is. Whether it never became whole or has lost its
// end the rows don't tell: what is missing at the end of a log can't be seen. Only where
// somebody says that the term goes on exactly it is known to be a loss.
func TestTornFirstBase(t *testing.T) {
	m := newMemory()
	g := newRig(t, m, func(o *Options) { o.GroupBytes = 1 << 20 })
	l := g.newSession("personal")
	var err error
	l.ops, err = capturetest.NewOps(g.ctx(), l.file.DB(), 1)
	g.must(err)
	_, err = l.file.Install(g.ctx())
	g.must(err)
	l.bulk(5<<19, 0)
	l.attach(Term{Start: StartNew})
	l.flush()
	g.crash()
	m.lose(l.id, 1, 3)
	taken, _, found := g.restored(l.id, StartSafe)
	if !found.CredentialsOnly || taken.ParentSeq != 2 {
		t.Errorf("restored %+v behind %d", found, taken.ParentSeq)
	}
	taken.Start = StartExact
	if _, err := Restore(g.ctx(), g.store, g.keys, taken, filepath.Join(t.TempDir(), "exact.db")); !errors.Is(err, sessionlog.ErrMissing) {
		t.Errorf("an exact start without a base: %v", err)
	}
}
