package metrics

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// row is a line of README.md's tables.
type row struct{ Type, Unit, Labels, Meaning string }

// TestReadme: README.md lists what is registered, with type, unit, labels and the
// very words of the help text, and nothing else.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	written := map[string]row{}
	line := regexp.MustCompile("(?m)^\\| `(cloudsession_[a-z_]+)` \\| ([a-z]+) \\| ([a-z]*) \\| ([^|]*) \\| (.*) \\|$")
	for _, m := range line.FindAllStringSubmatch(string(text), -1) {
		if _, twice := written[m[1]]; twice {
			t.Errorf("%s is listed twice", m[1])
		}
		written[m[1]] = row{m[2], m[3], m[4], m[5]}
	}
	registered := map[string]row{}
	for name, f := range families(t, watched()) {
		registered[name] = row{strings.ToLower(f.GetType().String()), unit(name), labels(f), f.GetHelp()}
	}
	if diff := cmp.Diff(registered, written); diff != "" {
		t.Errorf("README.md and what is registered differ (-registered +written):\n%s", diff)
	}
}

func unit(name string) string {
	for _, u := range []string{"seconds", "bytes"} {
		if slices.Contains(strings.Split(name, "_"), u) {
			return u
		}
	}
	return ""
}

// labels lists a family's labels with their values, "`start`: exact, new"; the
// values of build_info's are not ours.
func labels(f *family) string {
	var names []string
	of := map[string][]string{}
	for _, m := range f.GetMetric() {
		for _, l := range m.GetLabel() {
			if !slices.Contains(names, l.GetName()) {
				names = append(names, l.GetName())
			}
			if !slices.Contains(of[l.GetName()], l.GetValue()) {
				of[l.GetName()] = append(of[l.GetName()], l.GetValue())
			}
		}
	}
	var out []string
	for _, name := range names {
		if f.GetName() == namespace+"_build_info" {
			out = append(out, "`"+name+"`")
			continue
		}
		slices.Sort(of[name])
		out = append(out, "`"+name+"`: "+strings.Join(of[name], ", "))
	}
	return strings.Join(out, "; ")
}
