package replicate

import (
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"cloudsession/connector/capture"
	"cloudsession/connector/capture/capturetest"
	"cloudsession/shared/cloudstore"
)

// upgrades are what a newer whatsmeow may do to its tables.
var upgrades = map[string][]string{
	"new column": {
		"ALTER TABLE whatsmeow_contacts ADD COLUMN username TEXT NOT NULL DEFAULT 'none'",
		"UPDATE whatsmeow_version SET version = version + 1",
	},
	// Its triggers go with the old table, and what is written meanwhile is noted by nobody.
	"rebuilt": {
		"ALTER TABLE whatsmeow_chat_settings RENAME TO old",
		`CREATE TABLE whatsmeow_chat_settings (our_jid TEXT, chat_jid TEXT, muted_until BIGINT NOT NULL DEFAULT 0, pinned BOOLEAN NOT NULL DEFAULT false,
			archived BOOLEAN NOT NULL DEFAULT false, locked BOOLEAN NOT NULL DEFAULT true, PRIMARY KEY (chat_jid, our_jid))`,
		"INSERT INTO whatsmeow_chat_settings (our_jid, chat_jid, muted_until, pinned, archived) SELECT our_jid, chat_jid, muted_until, pinned, archived FROM old",
		"DROP TABLE old",
		"UPDATE whatsmeow_version SET version = version + 1",
	},
}

// upgrade changes the tables as a newer whatsmeow does when it opens the file.
func (l *live) upgrade(statements []string) {
	l.Helper()
	for _, s := range statements {
		_, err := l.file.DB().ExecContext(l.ctx(), s)
		l.must(err)
	}
	changed, err := l.file.Install(l.ctx())
	l.must(err)
	if !changed {
		l.Fatal("the upgrade was not noticed")
	}
}

// kinds are those of the rows of the session's present term.
func (l *live) kinds() (kinds []cloudstore.SegmentKind) {
	for _, row := range rowsOfEpoch(l.rig, l.id, l.taken.Epoch) {
		kinds = append(kinds, row.Kind)
	}
	return kinds
}

// A newer whatsmeow opens the file: the next push is a base, whatever the start, and that base and
// the deltas behind it restore to the file as it is.
func TestSchemaUpgradePushesABase(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(upgrades)) {
		for start, begin := range map[string]func(*live, []string) *live{
			"exact": upgradedExactly, "own file": upgradedInItsFile, "under way": upgradedUnderWay,
		} {
			t.Run(name+", "+start, func(t *testing.T) {
				onBoth(t, func(t *testing.T, c cloud) { testUpgrade(t, c, upgrades[name], begin) })
			})
		}
	}
}

func testUpgrade(t *testing.T, c cloud, upgrade []string, begin func(*live, []string) *live) {
	g := newRig(t, c)
	l := g.pair("personal", 5)
	l.steps(60)
	l.flush()
	l = begin(l, upgrade)
	before := len(l.kinds())
	l.repl.Changed()
	l.flush()
	if kinds := l.kinds(); len(kinds) <= before || kinds[len(kinds)-1] != cloudstore.KindBase {
		t.Fatalf("rows of the term after the upgrade: %v, %d of them from before", kinds, before)
	}
	want := g.dump(l.file)
	l.steps(40)
	l.flush()
	if kinds := l.kinds(); kinds[len(kinds)-1] != cloudstore.KindDelta {
		t.Errorf("rows of the term: %v", kinds)
	}
	last := g.dump(l.file)
	g.must(l.handOff())

	taken, path, _ := g.restored(l.id, "")
	if taken.Start != StartExact {
		t.Errorf("start %s", taken.Start)
	}
	g.equal("base and deltas", last, g.dumpAt(path))
	// And the base by itself, without a row from before it.
	base := baseOf(t, g, l)
	path = filepath.Join(t.TempDir(), "base.db")
	_, err := RestoreAt(t.Context(), g.store, g.keys, taken, Point{Epoch: base.Epoch, Seq: base.Seq}, path)
	g.must(err)
	g.equal("the base", want, g.dumpAt(path))
}

// baseOf is the last row of the term's last base.
func baseOf(t *testing.T, g *rig, l *live) (base cloudstore.Segment) {
	t.Helper()
	for _, row := range rowsOfEpoch(g, l.id, l.taken.Epoch) {
		if row.Kind == cloudstore.KindBase && row.Part == row.Parts {
			base = row
		}
	}
	return base
}

func upgradedExactly(l *live, upgrade []string) *live {
	l.must(l.handOff())
	taken, path, found := l.restored(l.id, "")
	next := &live{rig: l.rig, id: l.id, taken: taken}
	next.open(path)
	next.upgrade(upgrade)
	next.goOn(Term{Start: taken.Start, Salt: found.Salt, Log: found.Log})
	return next
}

func upgradedInItsFile(l *live, upgrade []string) *live {
	l.crash()
	path := l.file.Path()
	l.must(l.file.Close())
	next := &live{rig: l.rig, id: l.id}
	next.open(path)
	state, err := next.file.State(l.ctx())
	l.must(err)
	inode, err := capture.Inode(path)
	l.must(err)
	next.taken = l.take(l.id, false, func(p cloudstore.Parent) string {
		if !CanResumeOwnFile(state, p, l.boot, inode) {
			l.Fatal("its own file is not gone on with")
		}
		return StartOwnFile
	})
	next.upgrade(upgrade)
	next.goOn(Term{Start: StartOwnFile})
	return next
}

func upgradedUnderWay(l *live, upgrade []string) *live {
	l.upgrade(upgrade)
	return l
}

// goOn begins the term in a file that is open.
func (l *live) goOn(term Term) {
	l.Helper()
	var err error
	l.ops, err = capturetest.NewOps(l.ctx(), l.file.DB(), 5^l.taken.Epoch<<40)
	l.must(err)
	l.attach(term)
}
