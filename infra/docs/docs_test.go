package docs

import (
	"slices"
	"strings"
	"testing"
)

// check holds a text against one rule and returns what is wrong with it.
type check func(document, *repository) []string

var checks = map[string]check{
	"words": checkWords, "routes": checkRoutes, "targets": checkTargets, "files": checkFiles,
	"links": checkLinks, "commands": checkCommands, "messages": checkMessages,
}

func TestNames(t *testing.T) {
	r := readRepository(t)
	for _, d := range documents(t) {
		for name, check := range checks {
			for _, problem := range check(d, r) {
				t.Errorf("%s, %s: %s", d.name, name, problem)
			}
		}
	}
}

// TestChecksRefuse shows every rule a text that breaks it.
func TestChecksRefuse(t *testing.T) {
	r := readRepository(t)
	for _, spoil := range []struct{ check, text, want string }{
		{"words", "Set `TIDB_HOSTNAME`.", "TIDB_HOSTNAME"},
		{"words", "```sh\nexport SESSION_SECRET=x\n```", "SESSION_SECRET"},
		{"words", "The alarm `SleepyConnectorsAlarm`.", "SleepyConnectorsAlarm"},
		{"words", "See `cloudsession_unheard_of_total`.", "unheard_of"},
		{"routes", "`PUT /cloud/sessions`", "PUT /cloud/sessions"},
		{"routes", "`POST /cloud/sessions/personal/status`", "status"},
		{"routes", "`GET /unheardof`", "/unheardof"},
		{"targets", "```\n$ make coffee\n```", "coffee"},
		{"files", "See `infra/nowhere/file.yaml`.", "infra/nowhere"},
		{"files", "The secret `cloudsession/passwords`.", "cloudsession/passwords"},
		{"files", "```sh\nls /etc/cloudsession/passwords\n```", "/etc/cloudsession/passwords"},
		{"messages", "The log says `cloud is made of cheese`.", "made of cheese"},
		{"messages", "It ends with `serve metrics on METRICS_ADDR`.", "serve metrics on METRICS_ADDR"},
		{"messages", "It ends with `serve cheese: … METRICS_ADDR`.", "serve cheese"},
		{"links", "[x](docs/nowhere.md)", "docs/nowhere.md"},
		{"links", "[x](README.md#no-such-heading)", "no-such-heading"},
		{"commands", "Run `connector explode`.", "explode"},
		{"commands", "```sh\nsudo cloudsession inspect everything toko\n```", "inspect everything"},
		{"commands", "Run `connector drain --quickly`.", "--quickly"},
	} {
		problems := checks[spoil.check](parse("README.md", spoil.text), r)
		if !strings.Contains(strings.Join(problems, "\n"), spoil.want) {
			t.Errorf("%s finds %q in %q, want %q", spoil.check, problems, spoil.text, spoil.want)
		}
	}
}

// TestIndonesianReadme: its commands are the README's, so that only the words were
// translated, and nothing of the README's way to a first session is left out. What
// make demo prints is told in words there.
func TestIndonesianReadme(t *testing.T) {
	english, indonesian := read(t, "README.md"), read(t, "README.id.md")
	for _, line := range missing(indonesian, english) {
		t.Errorf("README.md has no line %q", line)
	}
	beginning, _, found := strings.Cut(english.text, "\n## Deploying it\n")
	if !found {
		t.Fatal("where does the README's first session end?")
	}
	first := parse("README.md", beginning)
	for i, f := range first.fences {
		if len(f.lines) > 0 && f.lines[0] == "$ make demo" {
			first.fences[i].lines = nil
		}
	}
	for _, line := range missing(first, indonesian) {
		t.Errorf("README.id.md has no line %q", line)
	}
	for _, code := range first.spans {
		if !slices.Contains(indonesian.spans, code) {
			t.Errorf("README.id.md says nothing of `%s`", code)
		}
	}
}

// missing are the lines in d's blocks of code that those of other don't have; what
// is said after them doesn't count.
func missing(d, other document) (lines []string) {
	var known []string
	for _, f := range other.fences {
		known = append(known, f.lines...)
	}
	for _, f := range d.fences {
		for _, line := range f.lines {
			command, _, _ := strings.Cut(line, " #")
			command = strings.TrimRight(command, " ")
			if !slices.ContainsFunc(known, func(k string) bool { return strings.HasPrefix(k, command) }) {
				lines = append(lines, command)
			}
		}
	}
	return lines
}
