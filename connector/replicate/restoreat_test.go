package replicate

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"cloudsession/shared/cloudstore"
)

// Every point of a log can be restored, by its place or by a time; the state is
// the one the session had there, the prekey ids are those of the whole log, and
// what came later stays.
func TestRestoreAt(t *testing.T) {
	onBoth(t, func(t *testing.T, c cloud) {
		g := newRig(t, c)
		l := g.pair("personal", testSeed(t))
		type moment struct {
			point Point
			state map[string][]string
		}
		var moments []moment
		for range 4 {
			l.steps(30)
			l.flush()
			m := moment{state: g.dump(l.file)}
			cursor := l.repl.Status().Cursor
			m.point = Point{Epoch: cursor.Epoch, Seq: cursor.Seq}
			moments = append(moments, m)
		}
		// A second term, exact, with points of its own.
		g.must(l.handOff())
		taken, path, found := g.restored(l.id, StartExact)
		l = l.resume(taken, path, found, 2)
		l.steps(30)
		l.flush()
		end := l.repl.Status().Cursor
		moments = append(moments, moment{point: Point{Epoch: end.Epoch, Seq: end.Seq}, state: g.dump(l.file)})
		_, _, newest := g.restored(l.id, StartSafe)

		at := func(p Point) (Restored, map[string][]string, error) {
			taken := g.take(l.id, false, func(cloudstore.Parent) string { return StartSafe })
			path := filepath.Join(t.TempDir(), "past.db")
			found, err := RestoreAt(g.limit(), g.store, g.keys, taken, p, path)
			if err != nil {
				return found, nil, err
			}
			if found.Cursor.Epoch != taken.ParentEpoch || found.Cursor.Seq != taken.ParentSeq {
				t.Errorf("%s: the term would go on from %v, not from %d.%d", p, found.Cursor, taken.ParentEpoch, taken.ParentSeq)
			}
			return found, g.dumpAt(path), nil
		}
		for _, m := range moments {
			parsed, err := ParsePoint(m.point.String())
			g.must(err)
			found, got, err := at(parsed)
			g.must(err)
			g.equal(m.point.String(), m.state, got)
			if found.MaxPreKeyID < newest.MaxPreKeyID {
				t.Errorf("%s: highest prekey %d, the log names %d", m.point, found.MaxPreKeyID, newest.MaxPreKeyID)
			}
		}
		for _, p := range []Point{{Epoch: 1, Seq: 99}, {Epoch: 99, Seq: 1}, {Time: time.Unix(0, 0)}} {
			if _, _, err := at(p); !errors.Is(err, ErrNoPoint) {
				t.Errorf("%s: %v, want no such point", p, err)
			}
		}
		_, got, err := at(Point{Time: time.Now().Add(time.Hour)})
		g.must(err)
		g.equal("the newest", moments[len(moments)-1].state, got)
	})
}

func TestParsePoint(t *testing.T) {
	for text, want := range map[string]Point{
		"3.17":                      {Epoch: 3, Seq: 17},
		"2026-01-22T10:30:45Z":      {Time: time.Date(2026, 1, 22, 10, 30, 45, 0, time.UTC)},
		"2026-01-22T17:30:45+07:00": {Time: time.Date(2026, 1, 22, 10, 30, 45, 0, time.UTC)},
	} {
		p, err := ParsePoint(text)
		if err != nil || p.Epoch != want.Epoch || p.Seq != want.Seq || !p.Time.Equal(want.Time) {
			t.Errorf("%s: %+v, %v", text, p, err)
		}
	}
	for _, text := range []string{"", "3", "3.", ".3", "0.1", "1.0", "-1.1", "1.2.3", "yesterday", "2026-01-22"} {
		if p, err := ParsePoint(text); err == nil {
			t.Errorf("%q was read as %+v", text, p)
		}
	}
}
