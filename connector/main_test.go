package main

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"connector": main})
}

// TestCommands runs the command lines of testdata as a person would type them.
// What needs a database or a service is tested end to end, in infra/local/e2e.
func TestCommands(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata"})
}

// Every variable is documented, and none twice.
func TestEveryVariableIsDocumented(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range fields(reflect.TypeFor[Config]()) {
		name, help := f.Tag.Get("env"), f.Tag.Get("help")
		if name == "" || help == "" {
			t.Errorf("field %s has no variable or no help", f.Name)
		}
		if seen[name] {
			t.Errorf("%s is read twice", name)
		}
		seen[name] = true
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for name := range seen {
		if !strings.Contains(string(readme), "`"+name+"`") {
			t.Errorf("the README's table has no %s", name)
		}
	}
}
