package capture

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func mode(t *testing.T, path string) os.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

func TestFileModes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data", "%41?#&x=1 ☕", "session.db")
	f := open(t, path, Options{})
	exec(t, f, "CREATE TABLE inbox_x (a TEXT PRIMARY KEY)")
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if m := mode(t, path+suffix); m != 0o600 {
			t.Errorf("session.db%s has mode %v", suffix, m)
		}
	}
	for _, dir := range []string{filepath.Dir(path), filepath.Dir(filepath.Dir(path))} {
		if m := mode(t, dir); m != 0o700 {
			t.Errorf("%s has mode %v", dir, m)
		}
	}
}

func TestOpenTightensTheMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "session.db")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	open(t, path, Options{})
	if m := mode(t, path); m != 0o600 {
		t.Errorf("mode %v", m)
	}
}

func TestCloseLeavesOneFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "session.db")
	f, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	exec(t, f, "CREATE TABLE inbox_x (a TEXT PRIMARY KEY)")
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
}

func TestOpenRefusesWhatIsNoSessionFile(t *testing.T) {
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage.db")
	if err := os.WriteFile(garbage, bytes.Repeat([]byte("no database "), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), garbage, Options{}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("garbage: %v", err)
	}
	if _, err := Open(t.Context(), dir, Options{}); err == nil {
		t.Error("a folder was opened")
	}
	link := filepath.Join(dir, "link.db")
	if err := os.Symlink(garbage, link); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), link, Options{}); err == nil {
		t.Error("a link was followed")
	}
}

// Pages overwritten in the middle of a file are found.
func TestCheckFindsDamage(t *testing.T) {
	s := newSession(t, 1)
	path := filepath.Join(t.TempDir(), "copy.db")
	if _, err := s.DB().ExecContext(t.Context(), "VACUUM INTO ?", path); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for page := 8; page < len(data)/4096; page++ {
		copy(data[page*4096:], bytes.Repeat([]byte{0xee}, 64))
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Open(t.Context(), path, Options{})
	if err == nil {
		err = errors.Join(f.Check(t.Context()), f.Close())
	}
	if !errors.Is(err, ErrCorrupt) {
		t.Errorf("Check: %v", err)
	}
}

func TestInodeTellsACopy(t *testing.T) {
	f := open(t, "", Options{})
	before, err := Inode(f.Path())
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(f.Path())
	if err != nil {
		t.Fatal(err)
	}
	replaced := f.Path() + ".copy"
	if err := os.WriteFile(replaced, data, 0o600); err != nil {
		t.Fatal(err)
	}
	after, err := Inode(replaced)
	if err != nil || before == after || before == 0 {
		t.Errorf("inodes %d and %d, %v", before, after, err)
	}
	if _, err := Inode(f.Path() + ".none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	a, err := BootID()
	if err != nil {
		t.Fatal(err)
	}
	if b, err := BootID(); err != nil || a != b || len(a) != 36 {
		t.Errorf("boot ids %q and %q, %v", a, b, err)
	}
}

func TestIdleTime(t *testing.T) {
	for open, want := range map[int64]time.Duration{0: longIdle, 1: longIdle, 512: longIdle, 1024: 15 * time.Second, 1 << 30: shortIdle} {
		if got := idleTime(open); got != want {
			t.Errorf("%d open: %s, want %s", open, got, want)
		}
	}
	before := openConns.Load()
	f := open(t, "", Options{})
	if n := openConns.Load(); n <= before {
		t.Errorf("%d connections are open, %d were before", n, before)
	}
	must(t, f.Close())
	if n := openConns.Load(); n != before {
		t.Errorf("%d connections are open, want %d", n, before)
	}
}

// While the file closes nothing is started in its pool, which would stay: the
// package's tests look for goroutines in the end.
func TestClosingFileKeepsNothingIdle(t *testing.T) {
	f, err := Open(t.Context(), filepath.Join(t.TempDir(), "session.db"), Options{})
	must(t, err)
	f.closeWait = time.Hour // for the connection that is held until Close has begun
	held, err := f.DB().Conn(t.Context())
	must(t, err)
	closed := make(chan error, 1)
	go func() { closed <- f.Close() }()
	for { // until it is closing
		c, err := f.DB().Conn(t.Context())
		if err != nil {
			break
		}
		must(t, c.Close())
	}
	f.keepIdle(longIdle)
	must(t, held.Close())
	must(t, <-closed)
}
