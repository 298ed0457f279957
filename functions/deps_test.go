package functions_test

import (
	"encoding/json"
	"errors"
	"go/scanner"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// forbidden is what no function may link, and why.
var forbidden = map[string]string{
	"go.mau.fi/":                          "a stolen function must not be able to use a session",
	"modernc.org/sqlite":                  "session files are on connectors only",
	"github.com/mattn/go-sqlite3":         "session files are on connectors only",
	"cloudsession/shared/envelope":        "functions hold no opening code",
	"cloudsession/shared/sessionlog":      "functions hold no opening code",
	"cloudsession/shared/devtoken":        "functions check tokens and never make them",
	"cloudsession/connector":              "functions and connectors never import each other",
	"github.com/aws/aws-sdk-go-v2/config": "adds 2 MB and 5 ms to every start",
	"testing":                             "no test code in production",
	"github.com/prometheus/":              "a function has nobody who scrapes it, and starts slower with it",
}

// listed is a package as `go list -json` describes it.
type listed struct {
	ImportPath, Dir string
	GoFiles         []string
}

func dependencies(t *testing.T, pkg string) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-tags", "lambda.norpc", "-json=ImportPath,Dir,GoFiles", pkg)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %s: %v", pkg, err)
	}
	var all []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// TestDependencies: no function links what could open or use a session, and
// none asks for the secret by name.
func TestDependencies(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range names() {
		t.Run(name, func(t *testing.T) {
			deps := dependencies(t, "cloudsession/functions/"+name)
			if len(deps) < 100 {
				t.Fatalf("go list found %d packages", len(deps))
			}
			for _, p := range deps {
				for prefix, why := range forbidden {
					if p.ImportPath == prefix || strings.HasPrefix(p.ImportPath, strings.TrimSuffix(prefix, "/")+"/") {
						t.Errorf("links %s: %s", p.ImportPath, why)
					}
				}
				if strings.HasPrefix(p.ImportPath, "cloudsession/") && !seen[p.ImportPath] {
					seen[p.ImportPath] = true
					checkStrings(t, p)
				}
			}
		})
	}
	for _, want := range []string{"cloudsession/functions/api", "cloudsession/shared/cloudstore", "cloudsession/shared/command"} {
		if !seen[want] {
			t.Errorf("%s was not looked at", want)
		}
	}
}

// checkStrings looks for the secret's name in the strings of a package.
func checkStrings(t *testing.T, p listed) {
	t.Helper()
	for _, name := range p.GoFiles {
		src, err := os.ReadFile(filepath.Join(p.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		var s scanner.Scanner
		fset := token.NewFileSet()
		s.Init(fset.AddFile(name, -1, len(src)), src, nil, 0)
		for {
			pos, tok, lit := s.Scan()
			if tok == token.EOF {
				break
			}
			if tok == token.STRING && strings.Contains(lit, "SESSION_ENCRYPTION") {
				t.Errorf("%s/%s names the secret at %s", p.ImportPath, name, fset.Position(pos))
			}
		}
	}
}
