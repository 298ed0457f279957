package stack

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEnvironmentFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.env")
	want := environment{"A": "plain", "B": "it's 'quoted'", "C": "two\nlines # no comment", "D": "", "E": `\''`, "F": "☕ $HOME `x`"}
	if err := want.write(file, "a comment's text"); err != nil {
		t.Fatal(err)
	}
	got, err := readEnvironment(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	// A shell reads the same.
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", `. "$1"; printf %s "$A|$B|$C|$D|$E|$F"`, "sh", file)
	out, err := cmd.Output()
	if all := strings.Join([]string{want["A"], want["B"], want["C"], want["D"], want["E"], want["F"]}, "|"); err != nil || string(out) != all {
		t.Errorf("a shell reads %q, %v, want %q", out, err, all)
	}
}

func TestBadEnvironmentFile(t *testing.T) {
	for _, text := range []string{"A=secret\n", "A='secret", "A='secret'B='x'\n", "='secret\n", "A\n='secret'\n"} {
		file := filepath.Join(t.TempDir(), "x.env")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := readEnvironment(file); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	// Secrets that can't be read are never made anew.
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, secretsFile), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := secrets(dir); err == nil {
		t.Error("damaged secrets were replaced")
	}
}

func TestMerge(t *testing.T) {
	got := environment{"A": "1", "B": "2", "C": "3"}.merge(environment{"B": "x"}, environment{"C": "", "D": "4"})
	if diff := cmp.Diff([]string{"A=1", "B=x", "D=4"}, got.list()); diff != "" {
		t.Error(diff)
	}
}
