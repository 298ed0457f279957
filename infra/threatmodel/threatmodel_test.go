package threatmodel

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const top = "../.."

var name = regexp.MustCompile("`([a-z0-9]+)\\.((?:Test|Fuzz)\\w+)`")

// claims are the rows of the tables whose last column is headed "shown by".
func claims(text string) (rows [][]string) {
	inTable := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			inTable = false
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		switch {
		case strings.TrimSpace(cells[len(cells)-1]) == "shown by":
			inTable = true
		case inTable && !strings.HasPrefix(line, "|---"):
			rows = append(rows, cells)
		}
	}
	return rows
}

// unproven are the claims that name no test.
func unproven(text string) (list []string) {
	for _, row := range claims(text) {
		if !name.MatchString(row[len(row)-1]) {
			list = append(list, strings.TrimSpace(row[0]))
		}
	}
	return list
}

// unknown are the tests that are named anywhere in the text and don't exist.
func unknown(text string, exist map[string]bool) (list []string) {
	for _, m := range name.FindAllStringSubmatch(text, -1) {
		if test := m[1] + "." + m[2]; !exist[test] {
			list = append(list, test)
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(list)))
}

// tests are the module's, by their folder's name. Those behind a build tag count:
// `make interop` runs them.
func tests(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".build" || d.Name() == "node_modules" || d.Name() == "data" || d.Name() == ".git") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil {
				found[filepath.Base(filepath.Dir(path))+"."+f.Name.Name] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestEveryClaimNamesItsTest: each row that claims something names a test, and each
// test that is named is there.
func TestEveryClaimNamesItsTest(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(top, "docs", "threat-model.md"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	if n := len(claims(text)); n < 30 {
		t.Errorf("only %d claims were found: have the tables changed their form?", n)
	}
	for _, claim := range unproven(text) {
		t.Errorf("no test is named for: %s", claim)
	}
	for _, test := range unknown(text, tests(t)) {
		t.Errorf("there is no test %s", test)
	}
}

// TestCheckSees shows the check a claim without a test, and a test that isn't there.
func TestCheckSees(t *testing.T) {
	const text = "| what | shown by |\n|---|---|\n| one | `a.TestOne` |\n| two | nobody |\n\nWords, `a.TestThree`.\n\n| a table of others | which |\n|---|---|\n| x | y |\n"
	if diff := cmp.Diff([]string{"two"}, unproven(text)); diff != "" {
		t.Error(diff)
	}
	exist := map[string]bool{"a.TestOne": true}
	if diff := cmp.Diff([]string{"a.TestThree"}, unknown(text, exist)); diff != "" {
		t.Error(diff)
	}
	if found := tests(t); !found["threatmodel.TestCheckSees"] || len(slices.Collect(maps.Keys(found))) < 400 {
		t.Errorf("found %d tests", len(found))
	}
}
