package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const top = "../.." // the repository

// document is one text, cut into what the checks look at.
type document struct {
	name     string // path in the repository
	text     string
	headings []heading
	fences   []fence
	spans    []string // code within lines
	prose    string   // everything outside of fences
}

type heading struct {
	level int
	text  string
}

// fence is a block of code.
type fence struct {
	language string
	lines    []string
	checked  string // the scene named by a comment before it: <!-- checked: scene -->
}

var (
	span    = regexp.MustCompile("`([^`\n]+(?:\n[^`\n]+)?)`")
	checked = regexp.MustCompile(`^<!-- checked: ([a-z ]+) -->$`)
)

func parse(name, text string) document {
	d := document{name: name, text: text}
	var prose []string
	var open *fence
	scene := ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case open != nil && strings.HasPrefix(line, "```"):
			d.fences = append(d.fences, *open)
			open = nil
		case open != nil:
			open.lines = append(open.lines, line)
		case strings.HasPrefix(line, "```"):
			open = &fence{language: strings.TrimPrefix(line, "```"), checked: scene}
			scene = ""
		case checked.MatchString(line):
			scene = checked.FindStringSubmatch(line)[1]
		default:
			prose = append(prose, line)
			if marks, title, ok := strings.Cut(line, " "); ok && marks != "" && strings.Trim(marks, "#") == "" {
				d.headings = append(d.headings, heading{len(marks), title})
			}
		}
	}
	d.prose = strings.Join(prose, "\n")
	for _, m := range span.FindAllStringSubmatch(d.prose, -1) {
		d.spans = append(d.spans, strings.ReplaceAll(m[1], "\n", " "))
	}
	return d
}

// code is everything that is set as code, a line each.
func (d document) code() []string {
	all := slices.Clone(d.spans)
	for _, f := range d.fences {
		all = append(all, f.lines...)
	}
	return all
}

// section is what stands under a heading, up to the next one of its level or above.
func (d document) section(title string) string {
	var b strings.Builder
	level := 0
	for line := range strings.Lines(d.prose) {
		if marks, text, ok := strings.Cut(strings.TrimSpace(line), " "); ok && marks != "" && strings.Trim(marks, "#") == "" {
			if level > 0 && len(marks) <= level {
				break
			}
			if text == title {
				level = len(marks)
				continue
			}
		}
		if level > 0 {
			b.WriteString(line)
		}
	}
	return b.String()
}

// read returns one document of the repository.
func read(t *testing.T, name string) document {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(top, name))
	if err != nil {
		t.Fatal(err)
	}
	return parse(name, string(text))
}

// documents are the texts that users and operators read.
func documents(t *testing.T) (all []document) {
	t.Helper()
	for _, pattern := range []string{"README*.md", "docs/*.md"} {
		files, err := filepath.Glob(filepath.Join(top, pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("no %s: %v", pattern, err)
		}
		for _, f := range files {
			name, err := filepath.Rel(top, f)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, read(t, name))
		}
	}
	return all
}
