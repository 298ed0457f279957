package docs

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"cloudsession/functions/api"
)

// repository is what names are looked up in.
type repository struct {
	words     map[string]bool // of everything but texts and these tests
	installed string          // the packages' and the unit's sources
	makefile  string
	template  string
	programs  string // the source of what runs, for what it says
	commands  commands
}

// word is what names of variables, parameters, alarms and metrics are made of.
var word = regexp.MustCompile(`[A-Za-z][A-Za-z0-9_]*`)

func readRepository(t *testing.T) *repository {
	t.Helper()
	r := &repository{words: map[string]bool{}, commands: readCommands(t)}
	skip := []string{".git", ".build", "data"}
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(top, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if slices.Contains(skip, name) || d.Name() == "node_modules" || d.Name() == "testdata" {
				return fs.SkipDir
			}
			return nil
		}
		// docs_test.go holds the names that nothing has.
		if filepath.Ext(name) == ".md" || name == filepath.Join("infra", "docs", "docs_test.go") || !d.Type().IsRegular() {
			return nil
		}
		return r.add(name, path)
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *repository) add(name, path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for _, w := range word.FindAllString(string(text), -1) {
		r.words[w] = true
	}
	if top, _, _ := strings.Cut(name, "/"); filepath.Ext(name) == ".go" && !strings.HasSuffix(name, "_test.go") &&
		slices.Contains([]string{"connector", "functions", "shared"}, top) {
		r.programs += string(text)
	}
	switch {
	case name == "Makefile":
		r.makefile = string(text)
	case name == "template.yaml":
		r.template = string(text)
	case strings.HasPrefix(name, "infra/packaging/"), strings.HasPrefix(name, "infra/systemd/"):
		r.installed += string(text) + "\n"
	}
	return nil
}

var (
	// With an underscore: a variable of the environment, a metric, a table.
	identifier = regexp.MustCompile(`\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b|\bcloudsession_[a-z0-9_-]+`)
	// Two humps: a parameter, an output, an alarm, a metric of CloudWatch.
	camel = regexp.MustCompile(`^[A-Z][a-z0-9]+(?:[A-Z][a-z0-9]+)+$`)
	// What Prometheus makes of a histogram's name.
	parts = regexp.MustCompile(`_(?:bucket|sum|count)$`)
)

// foreign are names and texts of AWS, of systemd, of TiDB and of whatsmeow.
var foreign = []string{
	"CAPABILITY_IAM", "AccessDenied", "command denied", "condition failed", "unsupported database schema version",
}

// checkWords: what looks like a name of ours is one.
func checkWords(d document, r *repository) (problems []string) {
	for _, line := range d.code() {
		names := identifier.FindAllString(line, -1)
		if camel.MatchString(line) {
			names = append(names, line)
		}
		for _, name := range names {
			if queue, ok := strings.CutPrefix(name, "cloudsession_"); ok && strings.Contains(r.template, "${Prefix}_"+queue) {
				continue
			}
			if !r.words[name] && !r.words[parts.ReplaceAllString(name, "")] && !slices.Contains(foreign, name) {
				problems = append(problems, "nothing is called "+name)
			}
		}
	}
	return problems
}

// Words and nothing else but variables: what a program says.
var message = regexp.MustCompile(`^[a-z][a-z']+(?: (?:[a-z']+|[A-Z]+(?:_[A-Z]+)+))+$`)

// checkMessages: lines of logs and errors are quoted as the programs write them,
// but for what stands in place of "…".
func checkMessages(d document, r *repository) (problems []string) {
	for _, s := range d.spans {
		if _, command := r.commands[s]; command || called.MatchString(s) || target.MatchString(s) || strings.HasPrefix(s, "sam ") {
			continue
		}
		for part := range strings.SplitSeq(s, "…") {
			part = strings.Trim(part, " :;")
			if message.MatchString(part) && !slices.Contains(foreign, part) && !strings.Contains(r.programs, part) {
				problems = append(problems, "nothing says "+part)
			}
		}
	}
	return problems
}

var route = regexp.MustCompile(`\b(GET|POST|DELETE|PUT) (/[^\s"?,]*)`)

// checkRoutes: every route of the API is one, by method and path; other paths are
// served by somebody.
func checkRoutes(d document, r *repository) (problems []string) {
	for _, line := range d.code() {
		for _, m := range route.FindAllStringSubmatch(line, -1) {
			if !isRoute(m[1], m[2], r) {
				problems = append(problems, "no route "+m[0])
			}
		}
	}
	return problems
}

func isRoute(method, path string, r *repository) bool {
	if !strings.HasPrefix(path, "/cloud/") {
		return r.words[word.FindString(path)]
	}
	for _, known := range api.Routes() {
		pattern := regexp.MustCompile(`\{[^}]+\}`).ReplaceAllString(known.Path, `[^/]+`)
		if known.Method == method && regexp.MustCompile("^"+pattern+"$").MatchString(path) {
			return true
		}
	}
	return false
}

var target = regexp.MustCompile(`(?:^|\$ |&& )make ([a-z][a-z-]*)`)

// checkTargets: what make is asked for, it can do.
func checkTargets(d document, r *repository) (problems []string) {
	for _, line := range d.code() {
		for _, m := range target.FindAllStringSubmatch(line, -1) {
			if !regexp.MustCompile(`(?m)^` + m[1] + `:`).MatchString(r.makefile) {
				problems = append(problems, "no target "+m[1]+" in the Makefile")
			}
		}
	}
	return problems
}

var (
	file     = regexp.MustCompile(`^(?:[a-zA-Z0-9_.-]+/)+[a-zA-Z0-9_.*-]+$`)
	absolute = regexp.MustCompile(`/(?:etc|usr|var/lib)/[a-zA-Z0-9_./-]*cloudsession[a-zA-Z0-9_./-]*`)
)

// checkFiles: files of the repository and secrets of the template exist, and files of
// an installed package are put where the text says.
func checkFiles(d document, r *repository) (problems []string) {
	for _, s := range d.spans {
		if secret, ok := strings.CutPrefix(s, "cloudsession/"); ok {
			if !strings.Contains(r.template, "${Prefix}/"+secret) {
				problems = append(problems, "the template has no secret "+s)
			}
			continue
		}
		folder, _, _ := strings.Cut(s, "/")
		if _, err := os.Stat(filepath.Join(top, folder)); !file.MatchString(s) || err != nil || folder == "." || folder == ".build" {
			continue
		}
		if found, err := filepath.Glob(filepath.Join(top, s)); err != nil || len(found) == 0 {
			problems = append(problems, "no file "+s)
		}
	}
	for _, line := range d.code() {
		for _, path := range absolute.FindAllString(line, -1) {
			path = strings.TrimRight(path, "/.")
			if credential, ok := strings.CutPrefix(path, "/etc/cloudsession/credentials/"); ok && r.words[credential] {
				continue
			}
			if !strings.Contains(r.installed, path) {
				problems = append(problems, "no package and no unit knows "+path)
			}
		}
	}
	return problems
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// checkLinks: links within the repository lead somewhere, to the heading too.
func checkLinks(d document, _ *repository) (problems []string) {
	for _, m := range link.FindAllStringSubmatch(d.prose, -1) {
		if strings.Contains(m[1], "://") {
			continue
		}
		path, anchor, _ := strings.Cut(m[1], "#")
		to := d
		if path != "" {
			path = filepath.Join(filepath.Dir(d.name), path)
			info, err := os.Stat(filepath.Join(top, path))
			if err != nil {
				problems = append(problems, "dead link "+m[1])
				continue
			}
			if anchor == "" || info.IsDir() {
				continue
			}
			text, err := os.ReadFile(filepath.Join(top, path))
			if err != nil {
				problems = append(problems, fmt.Sprintf("link %s: %v", m[1], err))
				continue
			}
			to = parse(path, string(text))
		}
		if !slices.ContainsFunc(to.headings, func(h heading) bool { return slug(h.text) == anchor }) {
			problems = append(problems, "link to no heading: "+m[1])
		}
	}
	return problems
}

// slug is the anchor that GitHub gives a heading.
func slug(title string) string {
	title = strings.ToLower(strings.ReplaceAll(title, " ", "-"))
	return regexp.MustCompile(`[^\p{L}\p{N}_-]`).ReplaceAllString(title, "")
}
