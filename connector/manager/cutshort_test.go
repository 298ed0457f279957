package manager

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cloudsession/connector/inbox"
	"cloudsession/connector/replicate"
	"cloudsession/infra/local/faultproxy"
)

// inTheWay puts a folder where a step is about to put, or remove, a file: the step
// fails, and what is on the disk then is what a process that is killed just before
// it leaves. The path is the disk's own again with the returned function.
func inTheWay(t *testing.T, path string) (clear func()) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	must(os.Rename(path, path+" as it was"))
	must(os.MkdirAll(filepath.Join(path, "full"), 0o700))
	return func() {
		must(os.RemoveAll(path))
		must(os.Rename(path+" as it was", path))
	}
}

// killedTerm makes a session file as a process that is killed leaves it: what was
// written last is in its -wal alone.
func killedTerm(t *testing.T, files sessionFiles, epoch uint64) {
	t.Helper()
	elsewhere := filesOf(t.TempDir(), files.sessionID)
	endedTerm(t, elsewhere, epoch, func(*inbox.Inbox) {
		if err := files.create(); err != nil {
			t.Fatal(err)
		}
		for _, suffix := range []string{"", "-wal", "-shm"} {
			data, err := os.ReadFile(elsewhere.newPath(epoch) + suffix)
			if err == nil {
				err = os.WriteFile(files.newPath(epoch)+suffix, data, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}

// A process is killed between any two steps of setting a file aside. The next one
// finishes that, and has every message that the file held.
func TestSettingAsideCutShort(t *testing.T) {
	for _, at := range []string{"current.json", "aside/4.db-wal", "aside/4.db-shm", "aside/4.db"} {
		t.Run(filepath.Base(at), func(t *testing.T) {
			files := filesOf(t.TempDir(), "toko ☕")
			killedTerm(t, files, 4)
			if err := files.adopt(files.newPath(4), 4); err != nil {
				t.Fatal(err)
			}
			clear := inTheWay(t, filepath.Join(files.dir, at))
			if err := files.setAside(); err == nil {
				t.Fatal("nothing failed")
			}
			clear()
			path, ok, err := files.adopted()
			if whole := at == "current.json"; err != nil || ok != whole || ok && path != files.newPath(4) {
				t.Errorf("adopted now: %q, %v, %v", path, ok, err)
			}
			if err := files.setAside(); err != nil {
				t.Fatal(err)
			}
			if left, err := filepath.Glob(filepath.Join(files.dir, "*.db*")); err != nil || len(left) > 0 {
				t.Errorf("left in the folder: %q, %v", left, err)
			}
			if !holdsMessages(filepath.Join(files.dir, "aside", "4.db")) {
				t.Error("messages that nobody else has are lost")
			}
		})
	}
}

// adopting are the steps of adopting a session file where there is one already.
var adopting = []struct {
	before, start string
	sends         int // that the session still knows of
}{
	{"current.json", replicate.StartSafe, 1},
	{"tainted", replicate.StartSafe, 2}, // by the file: whether the mark is about it nobody knows
	{"aside/1.db-wal", replicate.StartOwnFile, 2},
	{"aside/1.db-shm", replicate.StartOwnFile, 2},
	{"aside/1.db", replicate.StartOwnFile, 2},
}

// A process is killed between any two steps of adopting the file of a term. The next
// one goes on with that file if it was adopted, with all that is in it, else safely
// with what was pushed; and never with the file of the term before.
func TestAdoptingCutShort(t *testing.T) {
	for _, c := range adopting {
		t.Run(filepath.Base(c.before), func(t *testing.T) {
			o := furnished(t)
			s := o.linked()
			epoch := o.killedAdopting(s)
			clear := inTheWay(t, filepath.Join(s.files.dir, c.before))
			if err := s.files.adopt(s.files.newPath(epoch), epoch); err == nil {
				t.Fatal("nothing failed")
			}
			clear()
			o.opens(s, c.start, c.sends)
		})
	}
}

// A step of adopting a file fails, and the process lives on. Its term did nothing,
// and the next one is as exact as that.
func TestAdoptingThatFails(t *testing.T) {
	for _, c := range adopting {
		t.Run(filepath.Base(c.before), func(t *testing.T) {
			o := furnished(t)
			s := o.linked()
			o.killedAdopting(s)
			o.opens(s, replicate.StartSafe, 1)
			o.closes(s)
			old, _, err := s.files.adopted()
			if err != nil {
				t.Fatal(err)
			}
			for _, suffix := range []string{"-wal", "-shm"} {
				if err := os.WriteFile(old+suffix, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			before := strings.Replace(c.before, "1.db", filepath.Base(old), 1)
			clear := inTheWay(t, filepath.Join(s.files.dir, before))
			if _, err := o.open(s); err == nil {
				t.Fatal("nothing failed")
			}
			clear()
			o.opens(s, replicate.StartExact, 1)
		})
	}
}

// opens opens the session, and wants it to start so, to know of so many sends, and to
// have one file.
func (o *office) opens(s *session, want string, sends int) {
	o.t.Helper()
	start, err := o.open(s)
	if err != nil || start != want {
		o.t.Fatalf("starts %q, %v; want %s", start, err, want)
	}
	if list, err := s.current().wa.Inbox().Unfinished(o.t.Context()); err != nil || len(list) != sends {
		o.t.Errorf("%d sends are to be repeated, %v; want %d", len(list), err, sends)
	}
	path, ok, err := s.files.adopted()
	if err != nil || !ok || path != s.current().file.Path() {
		o.t.Errorf("adopted: %q, %v, %v; open is %q", path, ok, err, s.current().file.Path())
	}
	left, err := filepath.Glob(filepath.Join(s.files.dir, "*.db"))
	if err != nil || len(left) != 1 || left[0] != path {
		o.t.Errorf("in the folder: %q, %v; want %s alone", left, err, path)
	}
}

// killedAdopting opens the session, whose file is that of epoch 1, with a file of a
// later epoch, and ends that as if its process were killed. The folder is then made
// what it was before that file was adopted.
func (o *office) killedAdopting(s *session) (epoch uint64) {
	o.t.Helper()
	must := func(err error) {
		o.t.Helper()
		if err != nil {
			o.t.Fatal(err)
		}
	}
	currentPath := filepath.Join(s.files.dir, "current.json")
	_, err := o.open(s)
	must(err)
	o.closes(s)
	before, err := os.ReadFile(currentPath)
	must(err)
	start, err := o.open(s)
	must(err)
	cur := s.current()
	if start != replicate.StartExact || cur.file.Path() != s.files.newPath(cur.taken.Epoch) {
		o.t.Fatalf("starts %s with %s; want exact, with a file of its own", start, cur.file.Path())
	}
	send := func(id string) {
		_, _, err := cur.wa.Inbox().Reserve(o.t.Context(), id, id, "6281244445555@s.whatsapp.net", "text")
		must(err)
	}
	send("pushed")
	must(cur.rep.Flush(o.t.Context()))
	o.proxy.Set(faultproxy.Fault{Cut: true})
	send("not pushed")
	s.setCurrent(nil)
	must(cur.shut())
	o.proxy.Set(faultproxy.Fault{})
	must(os.Rename(filepath.Join(s.files.dir, "aside", "1.db"), s.files.newPath(1)))
	for _, suffix := range []string{"-wal", "-shm"} { // as if that had been killed, too
		must(os.WriteFile(s.files.newPath(1)+suffix, nil, 0o600))
	}
	must(os.WriteFile(currentPath, before, 0o600))
	must(os.WriteFile(filepath.Join(s.files.dir, "tainted"), nil, 0o600))
	return cur.taken.Epoch
}
