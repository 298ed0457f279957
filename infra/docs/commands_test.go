package docs

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// commands is what each command line of the connector says when asked for help, by
// the words that name it: "inspect list".
type commands map[string]string

func connectorBinary() string { return filepath.Join(top, ".build", "bin", "connector") }

// readCommands asks the built program.
func readCommands(t *testing.T) commands {
	t.Helper()
	all := commands{}
	var ask func(path []string)
	ask = func(path []string) {
		out, err := exec.CommandContext(t.Context(), connectorBinary(), append(path, "--help")...).CombinedOutput()
		if err != nil {
			t.Fatalf("connector %s --help: %v\n%s", strings.Join(path, " "), err, out)
		}
		all[strings.Join(path, " ")] = string(out)
		for _, name := range subcommands(string(out)) {
			if name != "help" && name != "completion" {
				ask(append(append([]string{}, path...), name))
			}
		}
	}
	ask(nil)
	return all
}

// subcommands reads the list in a help text.
func subcommands(help string) (names []string) {
	_, list, ok := strings.Cut(help, "Available Commands:\n")
	if !ok {
		return nil
	}
	for line := range strings.Lines(list) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			break
		}
		names = append(names, fields[0])
	}
	return names
}

// A command line: the program under any of its names, then words.
var called = regexp.MustCompile(`(?:^|\$ |sudo |-u cloudsession |[=(]|&& |\.build/bin/)(?:connector|cloudsession) ([a-z][a-z-]*)([^|;#)]*)`)

// checkCommands: subcommands exist, and know the flags they are given.
func checkCommands(d document, r *repository) (problems []string) {
	for _, line := range d.code() {
		for _, m := range called.FindAllStringSubmatch(line, -1) {
			if slices.Contains([]string{"help", "is", "has"}, m[1]) { // "connector is running" is a line of its log
				continue
			}
			problems = append(problems, r.commands.check(m[1], strings.Fields(m[2]))...)
		}
	}
	return problems
}

func (c commands) check(name string, words []string) (problems []string) {
	help, ok := c[name]
	if !ok {
		return []string{"no command connector " + name}
	}
	if len(subcommands(help)) > 0 && len(words) > 0 && !strings.HasPrefix(words[0], "-") && words[0] != "…" {
		name += " " + words[0]
		if help, ok = c[name]; !ok {
			return []string{"no command connector " + name}
		}
	}
	for _, w := range words {
		flag, _, _ := strings.Cut(w, "=")
		if strings.HasPrefix(flag, "--") && !strings.Contains(help, flag+" ") && !strings.Contains(help, flag+"\n") {
			problems = append(problems, fmt.Sprintf("connector %s has no flag %s", name, flag))
		}
	}
	return problems
}
