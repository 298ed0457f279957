package manager

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSessionIDsNeverBecomeFileNames(t *testing.T) {
	root := t.TempDir()
	seen := map[string]string{}
	for _, id := range []string{"personal", "..", "../../etc/passwd", "a/b", "a b", "a b ", "toko ☕", strings.Repeat("長", 255)} {
		f := filesOf(root, id)
		if filepath.Dir(f.dir) != filepath.Join(root, "sessions") || len(filepath.Base(f.dir)) != 32 {
			t.Errorf("%q lives in %s", id, f.dir)
		}
		if other, dup := seen[f.dir]; dup {
			t.Errorf("%q and %q share a folder", id, other)
		}
		seen[f.dir] = id
	}
}

func TestAdoptSetsOthersAside(t *testing.T) {
	f := filesOf(t.TempDir(), "personal")
	if err := f.create(); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := f.adopted(); ok || err != nil {
		t.Fatalf("an empty folder has an adopted file (%v)", err)
	}
	for epoch := uint64(8); epoch <= 13; epoch++ {
		path := f.newPath(epoch)
		for _, name := range []string{path, path + "-wal"} {
			if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.adopt(path, epoch); err != nil {
			t.Fatal(err)
		}
		got, ok, err := f.adopted()
		if err != nil || !ok || got != path {
			t.Fatalf("adopted %q, %v, %v; want %q", got, ok, err, path)
		}
	}
	aside, err := filepath.Glob(filepath.Join(f.dir, "aside", "*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(aside) != 2*keptAside || !strings.Contains(strings.Join(aside, " "), "12.db-wal") {
		t.Errorf("set aside: %v; want the newest %d with their -wal", aside, keptAside)
	}
	if err := f.setAside(); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := f.adopted(); ok || err != nil {
		t.Errorf("a file is adopted after setting all aside (%v)", err)
	}
}

func TestAdoptedRefusesAStrangersFolder(t *testing.T) {
	root := t.TempDir()
	f := filesOf(root, "personal")
	if err := f.create(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.newPath(1), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.adopt(f.newPath(1), 1); err != nil {
		t.Fatal(err)
	}
	f.sessionID = "business"
	if _, _, err := f.adopted(); err == nil {
		t.Error("a folder of another session was taken")
	}
	f.sessionID = "personal"
	if err := os.WriteFile(filepath.Join(f.dir, "current.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.adopted(); err == nil {
		t.Error("a damaged current.json read as no file")
	}
}
