package threatmodel

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// compareSecrets are the packages in which an outsider's bytes are held against a
// MAC, a tag or a secret. A comparison that ends at the first difference would tell
// how much of them was right.
var compareSecrets = []string{"shared/envelope", "shared/devtoken", "connector/webhook", "functions"}

// early are the functions that compare and end at the first difference.
var early = []string{
	"bytes.Equal", "bytes.Compare", "bytes.HasPrefix", "bytes.HasSuffix",
	"slices.Equal", "slices.Compare", "reflect.DeepEqual", "strings.Compare", "strings.EqualFold",
}

// secretName matches what a MAC or a secret is called. Names like keyID and
// tokenType, and how many there are, are not secret.
var secretName = regexp.MustCompile(`(?i)(hmac|mac$|macs$|tag$|tags$|^sum|sum$|digest$|signature$|signatures$|^sig$|secret$|secrets$|password$|token$|bearer$|credential$|key$|keys$)`)

// secretly tells whether an expression is called like a secret, whatever is done
// with it: indexed, sliced, converted, or asked of somebody.
func secretly(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return secretName.MatchString(e.Name)
	case *ast.SelectorExpr:
		return secretName.MatchString(e.Sel.Name)
	case *ast.ParenExpr:
		return secretly(e.X)
	case *ast.StarExpr:
		return secretly(e.X)
	case *ast.IndexExpr:
		return secretly(e.X)
	case *ast.SliceExpr:
		return secretly(e.X)
	case *ast.CallExpr:
		if f, ok := e.Fun.(*ast.Ident); ok && (f.Name == "len" || f.Name == "cap") {
			return false
		}
		return secretly(e.Fun) || slices.ContainsFunc(e.Args, secretly)
	}
	return false
}

// given is a value that everybody may read in the source: comparing with it is no
// guessing.
func given(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.BasicLit:
		return true
	case *ast.Ident:
		return e.Name == "nil" || e.Name == "true" || e.Name == "false"
	}
	return false
}

// asText tells whether an expression is bytes made a string, which is how they can
// be compared with ==.
func asText(e ast.Expr) bool {
	call, ok := e.(*ast.CallExpr)
	return ok && types.ExprString(call.Fun) == "string"
}

// earlyEnds are the comparisons in a file that end at the first difference of what
// may be a secret.
func earlyEnds(files *token.FileSet, file *ast.File) (problems []string) {
	report := func(e ast.Node, text string) {
		at := files.Position(e.Pos())
		problems = append(problems, strings.TrimPrefix(filepath.ToSlash(at.Filename), top+"/")+": "+text)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if f := types.ExprString(n.Fun); slices.Contains(early, f) && (!strings.HasPrefix(f, "strings.") || slices.ContainsFunc(n.Args, secretly)) {
				report(n, types.ExprString(n))
			}
		case *ast.BinaryExpr:
			if (n.Op == token.EQL || n.Op == token.NEQ) && !given(n.X) && !given(n.Y) && (secretly(n.X) || secretly(n.Y) || asText(n.X) && asText(n.Y)) {
				report(n, types.ExprString(n))
			}
		case *ast.SwitchStmt:
			if n.Tag != nil && secretly(n.Tag) {
				report(n, "switch "+types.ExprString(n.Tag))
			}
		}
		return true
	})
	return problems
}

// TestSecretsAreComparedInConstantTime: where MACs, tags and secrets are compared,
// only hmac.Equal does it.
func TestSecretsAreComparedInConstantTime(t *testing.T) {
	read, constant := 0, 0
	for _, folder := range compareSecrets {
		err := filepath.WalkDir(filepath.Join(top, folder), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			files := token.NewFileSet()
			file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			read++
			ast.Inspect(file, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok && types.ExprString(call.Fun) == "hmac.Equal" {
					constant++
				}
				return true
			})
			for _, problem := range earlyEnds(files, file) {
				t.Errorf("compared up to the first difference: %s", problem)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if read < 20 || constant < 3 {
		t.Errorf("read %d files with %d calls of hmac.Equal: has the code moved?", read, constant)
	}
}

// TestEarlyEndsAreSeen shows the check what it is for, and what is no matter.
func TestEarlyEndsAreSeen(t *testing.T) {
	const source = `package p
func bad() {
	_ = bytes.Equal(a, b)
	_ = tag == stored
	_ = string(got) != string(want)
	_ = [32]byte(mac[:32]) == x.y
	_ = strings.EqualFold(c.Password, given)
	switch r.Token { case known: }
}
func good() {
	_ = hmac.Equal(tag, stored)
	_ = secret == "" || key == nil || len(signature) != size
	_ = strings.EqualFold(scheme, "bearer")
	_ = kind == other
}`
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, top+"/p.go", source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"p.go: bytes.Equal(a, b)", "p.go: tag == stored", "p.go: string(got) != string(want)", "p.go: [32]byte(mac[:32]) == x.y",
		"p.go: strings.EqualFold(c.Password, given)", "p.go: switch r.Token",
	}
	if diff := cmp.Diff(want, earlyEnds(files, file)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
