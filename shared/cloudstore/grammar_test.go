package cloudstore_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	tidb "github.com/pingcap/tidb/pkg/parser"
	sqlast "github.com/pingcap/tidb/pkg/parser/ast"
	_ "github.com/pingcap/tidb/pkg/parser/test_driver" // literals for the parser
)

// statements returns every SQL statement of the package: string literals that
// begin like one, with lists filled in, and the migrations.
func statements(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for name, text := range literals(t) {
		if regexp.MustCompile(`^\s*(SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|REPLACE)\s`).MatchString(text) {
			list := "?, ?"
			if strings.Contains(text, "(session_id, epoch, seq) IN") {
				list = "(?, ?, ?), (?, ?, ?)"
			} else if strings.Contains(text, "(session_id, epoch) IN") {
				list = "(?, ?), (?, ?)"
			} else if strings.Contains(text, "VALUES %s") {
				list = "(?, ?, ?, ?, ?, ?, ?, ?), (?, ?, ?, ?, ?, ?, ?, ?)"
			}
			if strings.Contains(text, "(%s)") && strings.Contains(text, "FROM whatsapp_sessions w") {
				list = "w.session_id COLLATE utf8mb4_0900_bin = ? OR w.session_id COLLATE utf8mb4_0900_bin LIKE ? ESCAPE '!'"
			}
			all[name] = strings.ReplaceAll(text, "%s", list)
		}
	}
	files, err := filepath.Glob("migrations/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all[file] = string(text)
	}
	if len(all) < 55 {
		t.Fatalf("found only %d statements", len(all))
	}
	return all
}

// literals returns the string literals of the package's sources by position.
func literals(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	set := token.NewFileSet()
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(set, file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if text, err := strconv.Unquote(lit.Value); err == nil {
					all[set.Position(lit.Pos()).String()] = text
				}
			}
			return true
		})
	}
	return all
}

// TestGrammar runs every statement through TiDB's own parser, and holds the
// house rules: columns are named, and nothing that TiDB parses but doesn't do.
func TestGrammar(t *testing.T) {
	forbidden := regexp.MustCompile(`(?i)FOR SHARE|LOCK IN SHARE|SKIP LOCKED|INSERT IGNORE|\bREPLACE INTO\b|FOREIGN KEY|CHECK \(|TRIGGER|RETURNING|AS new\b`)
	p := tidb.New()
	for name, text := range statements(t) {
		parsed, _, err := p.ParseSQL(text)
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, text)
			continue
		}
		if word := forbidden.FindString(text); word != "" {
			t.Errorf("%s: uses %s", name, word)
		}
		for _, statement := range parsed {
			statement.Accept(&columnsNamed{t, name})
		}
	}
}

// columnsNamed reports SELECT * and INSERT without columns.
type columnsNamed struct {
	t    *testing.T
	name string
}

func (c *columnsNamed) Enter(n sqlast.Node) (sqlast.Node, bool) {
	switch n := n.(type) {
	case *sqlast.SelectField:
		if n.WildCard != nil {
			c.t.Errorf("%s: SELECT *", c.name)
		}
	case *sqlast.InsertStmt:
		if len(n.Columns) == 0 {
			c.t.Errorf("%s: INSERT without column names", c.name)
		}
	}
	return n, false
}

func (c *columnsNamed) Leave(n sqlast.Node) (sqlast.Node, bool) { return n, true }

// What a transaction reads to decide on, it locks: in the package's files every
// SELECT that a constant named lock… holds says so, and the others don't.
func TestLockingReadsAreNamedSo(t *testing.T) {
	set := token.NewFileSet()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	locks := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(set, file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				return true
			}
			lit, ok := spec.Values[0].(*ast.BasicLit)
			if !ok || !strings.Contains(lit.Value, "SELECT ") {
				return true
			}
			name := spec.Names[0].Name
			says := strings.HasSuffix(strings.Trim(lit.Value, "`"), "FOR UPDATE")
			if says != strings.HasPrefix(name, "lock") {
				t.Errorf("%s: %s, FOR UPDATE: %v", file, name, says)
			}
			locks++
			return true
		})
	}
	if locks < 20 {
		t.Errorf("found only %d reads", locks)
	}
}
