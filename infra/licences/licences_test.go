package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const top = "../.."

func shippedHere(t *testing.T) []module {
	t.Helper()
	modules, err := shipped(t.Context(), top)
	if err != nil {
		t.Fatal(err)
	}
	return modules
}

// TestListIsCurrent: every module that is linked into a shipped program is in the
// list, at its version, under a licence that somebody has looked at.
func TestListIsCurrent(t *testing.T) {
	want := list(shippedHere(t))
	got, err := os.ReadFile(filepath.Join(top, "LICENSES-THIRD-PARTY.md"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("LICENSES-THIRD-PARTY.md is out of date: run `make licences`\n%s", diff)
	}
}

// TestCopyright: the text that goes with the connector's packages holds the licence
// of each of its modules, and the packages' metadata name each kind.
func TestCopyright(t *testing.T) {
	modules := shippedHere(t)
	text, err := copyright(t.Context(), top, modules)
	if err != nil {
		t.Fatal(err)
	}
	packaged, err := os.ReadFile(filepath.Join(top, "infra", "packaging", "nfpm.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(string(packaged), "\nlicense: ")
	line, _, _ = strings.Cut(line, "\n")
	named := strings.Split(line, " AND ")
	for _, m := range modules {
		if !slices.Contains(m.programs, "connector") {
			continue
		}
		for _, f := range m.files {
			if !strings.Contains(string(text), m.Path+" "+m.Version+", "+f.name+"\n") ||
				!strings.Contains(string(text), strings.TrimSpace(strings.ReplaceAll(f.text, "\r\n", "\n"))) {
				t.Errorf("%s of %s is missing", f.name, m.Path)
			}
		}
		for _, id := range m.licences {
			if !slices.Contains(named, id) {
				t.Errorf("nfpm.yaml does not name %s, which %s is under", id, m.Path)
			}
		}
	}
	for _, part := range []string{"Cloud Session Sync authors", "GNU GENERAL PUBLIC LICENSE", "Mozilla Public License Version 2.0"} {
		if !strings.Contains(string(text), part) {
			t.Errorf("no %q in it", part)
		}
	}
}

// TestModulesFound: those that everything rests on are among the modules found, in
// the right program; a `go list` that finds too little would make every other test
// here pass.
func TestModulesFound(t *testing.T) {
	modules := shippedHere(t)
	for path, programs := range map[string][]string{
		"go.mau.fi/libsignal":            {"connector"},
		"go.mau.fi/whatsmeow":            {"connector"},
		"modernc.org/sqlite":             {"connector"},
		"github.com/aws/aws-lambda-go":   {"functions"},
		"github.com/go-sql-driver/mysql": {"connector", "functions"},
	} {
		i := slices.IndexFunc(modules, func(m module) bool { return m.Path == path })
		if i < 0 {
			t.Errorf("%s was not found", path)
			continue
		}
		if !slices.Equal(modules[i].programs, programs) {
			t.Errorf("%s is linked into %s, want %s", path, modules[i].programs, programs)
		}
	}
}

// TestIdentify reads licences and what only looks like one.
func TestIdentify(t *testing.T) {
	read := func(path ...string) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(path...))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"our own", read(top, "LICENSE"), []string{"MIT"}},
		{"our own without its condition", strings.ReplaceAll(read(top, "LICENSE"), "shall be included", "may be left out"), []string{"MIT-0"}},
		{"nothing", "All rights reserved.", nil},
		{"a mention", "This is not under the GNU General Public License, nor the MIT License.", nil},
		{"Affero", "GNU AFFERO GENERAL PUBLIC LICENSE\n   Version 3, 19 November 2007", []string{"AGPL-3.0-only"}},
		{"two", read(top, "LICENSE") + "\nGNU LESSER GENERAL PUBLIC LICENSE\nVersion 3, 29 June 2007", []string{"LGPL-3.0-only", "MIT"}},
	} {
		if diff := cmp.Diff(c.want, identify(c.text)); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

// TestCheckRefuses: what may not be shipped is named.
func TestCheckRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		m    module
		want string
	}{
		{"no licence", module{Path: "example.org/a"}, "no licence file"},
		{"a licence nobody allowed", module{Path: "example.org/a", licences: []string{"AGPL-3.0-only", "MIT"}}, "under AGPL-3.0-only"},
		{"another module's allowance", module{Path: "example.org/a", licences: []string{"MPL-2.0"}}, "under MPL-2.0"},
		{
			"the GPL in a function",
			module{Path: "go.mau.fi/libsignal", licences: []string{"GPL-3.0-only"}, programs: []string{"connector", "functions"}},
			"linked into the functions",
		},
	} {
		if err := check([]module{c.m}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if err := check([]module{{Path: "go.mau.fi/libsignal", licences: []string{"GPL-3.0-only"}, programs: []string{"connector"}}}); err != nil {
		t.Error(err)
	}
}

// TestUnknownLicence: a module whose licence file says something new stops everything.
func TestUnknownLicence(t *testing.T) {
	dir := t.TempDir()
	below := filepath.Join(dir, "internal", "x")
	if err := os.MkdirAll(below, 0o700); err != nil {
		t.Fatal(err)
	}
	m := module{Path: "example.org/a", Dir: dir, folders: []string{below}}
	if err := os.WriteFile(filepath.Join(dir, "LICENSE"), []byte("Do as you are told."), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := m.read(); err == nil || !strings.Contains(err.Error(), "LICENSE is not one that this program knows") {
		t.Errorf("read: %v", err)
	}
}
