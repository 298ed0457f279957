package config

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// TestReadme: the README lists every variable that the functions read besides the
// database's, with its default.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "\nAll functions read the `TIDB_*` variables.")
	if !found {
		t.Fatal("README.md has no part about the functions' configuration")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	for _, group := range []any{Tokens{}, Queue{}, Metrics{}, Logging{}} {
		for _, field := range reflect.VisibleFields(reflect.TypeOf(group)) {
			name, _, _ := strings.Cut(field.Tag.Get("env"), ",")
			row := regexp.MustCompile("(?m)^\\|[^|]*`" + name + "`[^|]*\\| *`?([^`|]*?)`? *\\|[^|]+\\|$").FindStringSubmatch(section)
			if row == nil {
				t.Errorf("README.md does not list %s", name)
			} else if row[1] != field.Tag.Get("envDefault") {
				t.Errorf("README.md says that %s is %q where it is not set; it is %q", name, row[1], field.Tag.Get("envDefault"))
			}
		}
	}
}
