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
// translated.
func TestIndonesianReadme(t *testing.T) {
	var known []string
	for _, f := range read(t, "README.md").fences {
		known = append(known, f.lines...)
	}
	for _, f := range read(t, "README.id.md").fences {
		for _, line := range f.lines {
			command, _, _ := strings.Cut(line, " #")
			if !slices.ContainsFunc(known, func(k string) bool { return strings.HasPrefix(k, strings.TrimRight(command, " ")) }) {
				t.Errorf("README.md has no line %q", command)
			}
		}
	}
}
