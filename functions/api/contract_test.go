package api_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"

	"cloudsession/functions/api"
	"cloudsession/shared/cloudstore"
)

// template is what the tests read of template.yaml. Tags such as !Sub are
// ignored: a !Ref decodes as the name it refers to.
type template struct {
	Globals struct {
		Function struct {
			Environment environment `yaml:"Environment"`
		} `yaml:"Function"`
	} `yaml:"Globals"`
	Resources map[string]resource `yaml:"Resources"`
}

type environment struct {
	Variables map[string]yaml.Node `yaml:"Variables"`
}

type resource struct {
	Type       string `yaml:"Type"`
	Properties struct {
		Handler     string      `yaml:"Handler"`
		Environment environment `yaml:"Environment"`
		Events      map[string]struct {
			Type       string            `yaml:"Type"`
			Properties map[string]string `yaml:"Properties"`
		} `yaml:"Events"`
	} `yaml:"Properties"`
}

const top = "../.." // the repository

func readTemplate(t *testing.T) template {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(top, "template.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var doc template
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// line is a route in the form all three descriptions are brought to.
func line(name, method, path string) string {
	return fmt.Sprintf("%-16s %-6s %s", name, strings.ToUpper(method), path)
}

// watcher is the one function that is no route.
const watcher = "watch-connectors"

// TestDescriptionsAgree: the routes of the code, of openapi.yaml and of
// template.yaml are the same, and each has its folder and its function.
func TestDescriptionsAgree(t *testing.T) {
	var inCode, inOpenAPI, inTemplate, folders []string
	for _, r := range api.Routes() {
		inCode = append(inCode, line(r.Name, r.Method, r.Path))
	}

	c, err := checker()
	if err != nil {
		t.Fatal(err)
	}
	for path, item := range c.Doc().Paths.Map() {
		for method, op := range item.Operations() {
			inOpenAPI = append(inOpenAPI, line(kebab(op.OperationID), method, path))
		}
	}

	doc := readTemplate(t)
	for id, r := range doc.Resources {
		if r.Type != "AWS::Serverless::Function" {
			continue
		}
		if got := kebab(id); got != r.Properties.Handler {
			t.Errorf("function %s has handler %s, want %s", id, r.Properties.Handler, got)
		}
		if r.Properties.Handler == watcher {
			continue
		}
		var own, any string
		for _, e := range r.Properties.Events {
			if e.Type != "HttpApi" || e.Properties["ApiId"] != "Api" {
				t.Errorf("function %s has an event that is no route of the API", id)
			}
			if e.Properties["Method"] == "any" {
				any = e.Properties["Path"]
				continue
			}
			own = e.Properties["Path"]
			inTemplate = append(inTemplate, line(r.Properties.Handler, e.Properties["Method"], e.Properties["Path"]))
		}
		if own != any || own == "" {
			t.Errorf("function %s does not answer other methods on its path: %q, %q", id, own, any)
		}
	}

	mains, err := filepath.Glob(filepath.Join(top, "functions", "*", "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mains {
		folders = append(folders, filepath.Base(filepath.Dir(m)))
	}

	names := []string{watcher}
	for _, r := range api.Routes() {
		names = append(names, r.Name)
	}
	for _, list := range [][]string{inCode, inOpenAPI, inTemplate, folders, names} {
		sort.Strings(list)
	}
	if diff := cmp.Diff(inCode, inOpenAPI); diff != "" {
		t.Errorf("code and openapi.yaml differ:\n%s", diff)
	}
	if diff := cmp.Diff(inCode, inTemplate); diff != "" {
		t.Errorf("code and template.yaml differ:\n%s", diff)
	}
	if diff := cmp.Diff(names, folders); diff != "" {
		t.Errorf("code and folders differ:\n%s", diff)
	}
}

var capital = regexp.MustCompile(`[A-Z]`)

// kebab turns listSessions and ListSessions into list-sessions.
func kebab(s string) string {
	return strings.TrimPrefix(capital.ReplaceAllStringFunc(s, func(c string) string { return "-" + strings.ToLower(c) }), "-")
}

// TestMainsServeTheirRoute: each main names the folder it is in.
func TestMainsServeTheirRoute(t *testing.T) {
	for _, r := range api.Routes() {
		src, err := os.ReadFile(filepath.Join(top, "functions", r.Name, "main.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{
			`Only: "` + r.Name + `"`,
			"// Command " + r.Name + " is the Lambda function of " + r.Method + " " + r.Path + ".",
		} {
			if !strings.Contains(string(src), want) {
				t.Errorf("%s/main.go does not say %s", r.Name, want)
			}
		}
	}
}

// TestCodesDescribed: openapi.yaml lists exactly the error codes the code has.
func TestCodesDescribed(t *testing.T) {
	c, err := checker()
	if err != nil {
		t.Fatal(err)
	}
	var described []string
	for _, v := range c.Doc().Components.Schemas["Code"].Value.Enum {
		described = append(described, v.(string))
	}
	used := map[string]bool{"invalid_request": true} // lambdahttp's
	for code := range api.CommandCodes() {
		used[code] = true
	}
	for _, file := range []string{"errors.go"} {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`newProblem\([^,]+, "([a-z_]+)"`).FindAllStringSubmatch(string(src), -1) {
			used[m[1]] = true
		}
	}
	var inCode []string
	for code := range used {
		inCode = append(inCode, code)
	}
	sort.Strings(inCode)
	sort.Strings(described)
	if diff := cmp.Diff(inCode, described); diff != "" {
		t.Errorf("code and openapi.yaml differ:\n%s", diff)
	}
}

// TestLimitsDescribed: numbers written in two places are the same.
func TestLimitsDescribed(t *testing.T) {
	c, err := checker()
	if err != nil {
		t.Fatal(err)
	}
	limit := c.Doc().Paths.Value("/cloud/sessions").Get.Parameters.GetByInAndName("query", "limit").Schema.Value
	if *limit.Max != api.MaxLimit || *limit.Min != 1 || limit.Default != float64(api.DefaultLimit) {
		t.Errorf("limit: %v to %v, default %v", *limit.Min, *limit.Max, limit.Default)
	}
	states := c.Doc().Components.Schemas["Command"].Value.Properties["status"].Value.Enum
	want := []any{cloudstore.CommandQueued, cloudstore.CommandRunning, cloudstore.CommandDone, cloudstore.CommandFailed, cloudstore.CommandExpired}
	if diff := cmp.Diff(want, states); diff != "" {
		t.Error(diff)
	}
}

// TestTemplateConfigures: the template sets every variable a function cannot
// start without, and none that no function reads.
func TestTemplateConfigures(t *testing.T) {
	doc := readTemplate(t)
	src, err := os.ReadFile(filepath.Join(top, "functions", "config", "config.go"))
	if err != nil {
		t.Fatal(err)
	}
	read, required := map[string]bool{}, map[string]bool{}
	for _, m := range regexp.MustCompile(`env:"([A-Z0-9_]+)(,required)?`).FindAllStringSubmatch(string(src), -1) {
		read[m[1]] = true
		if m[2] != "" {
			required[m[1]] = true
		}
	}
	if read["SESSION_ENCRYPTION_SECRET"] || len(required) < 3 {
		t.Fatalf("read: %v", read)
	}
	for id, r := range doc.Resources {
		if r.Type != "AWS::Serverless::Function" {
			continue
		}
		set := map[string]bool{}
		for name := range doc.Globals.Function.Environment.Variables {
			set[name] = true
		}
		for name := range r.Properties.Environment.Variables {
			set[name] = true
		}
		for name := range required {
			if !set[name] {
				t.Errorf("%s lacks %s", id, name)
			}
		}
		for name := range set {
			if !read[name] && name != "CONFIGURATION_REVISION" { // CloudFormation's, see template.yaml
				t.Errorf("%s sets %s, which nothing reads", id, name)
			}
		}
	}
}

// TestCheckerRefuses: the checker is no rubber stamp.
func TestCheckerRefuses(t *testing.T) {
	c, err := checker()
	if err != nil {
		t.Fatal(err)
	}
	header := http.Header{
		"Content-Type": {"application/json; charset=utf-8"}, "Cache-Control": {"no-store"},
		"X-Content-Type-Options": {"nosniff"}, "X-Request-Id": {"x"},
	}
	less := header.Clone()
	less.Del("Cache-Control")
	html := header.Clone()
	html.Set("Content-Type", "text/html")
	good := `{"sessionId":"a","lastSynced":null,"createdAt":"2026-01-20T08:15:30Z","updatedAt":"2026-01-22T10:30:45Z"}`
	for name, tt := range map[string]struct {
		method, path string
		status       int
		header       http.Header
		body         string
		ok           bool
	}{
		"good":              {"GET", "/cloud/sessions/a/status", 200, header, good, true},
		"fraction":          {"GET", "/cloud/sessions/a/status", 200, header, strings.Replace(good, "30Z", "30.5Z", 1), false},
		"null for a time":   {"GET", "/cloud/sessions/a/status", 200, header, strings.Replace(good, `"2026-01-20T08:15:30Z"`, "null", 1), false},
		"extra field":       {"GET", "/cloud/sessions/a/status", 200, header, strings.Replace(good, "{", `{"x":1,`, 1), false},
		"missing field":     {"GET", "/cloud/sessions/a/status", 200, header, strings.Replace(good, `"lastSynced":null,`, "", 1), false},
		"missing header":    {"GET", "/cloud/sessions/a/status", 200, less, good, false},
		"other type":        {"GET", "/cloud/sessions/a/status", 200, html, good, false},
		"other status":      {"GET", "/cloud/sessions/a/status", 201, header, good, false},
		"no Location":       {"POST", "/cloud/sessions/a/sync", 202, header, `{"status":"queued","sessionId":"a","commandId":"01KFJ4V7Z6ZB3Q8J6T1N5M2R9C"}`, false},
		"no Retry-After":    {"GET", "/cloud/sessions", 503, header, `{"error":"x","code":"unavailable"}`, false},
		"unknown code":      {"GET", "/cloud/sessions", 500, header, `{"error":"x","code":"boom"}`, false},
		"200 on no route":   {"GET", "/cloud", 200, header, `{}`, false},
		"200 on no method":  {"PUT", "/cloud/sessions", 200, header, `{}`, false},
		"wrong sentence":    {"POST", "/cloud/sessions/a/sync", 200, header, `{"status":"restored from cloud","sessionId":"a"}`, false},
		"list, null":        {"GET", "/cloud/sessions", 200, header, `{"sessions":null}`, false},
		"empty next_cursor": {"GET", "/cloud/sessions", 200, header, `{"sessions":[],"next_cursor":""}`, false},
	} {
		r, err := http.NewRequestWithContext(t.Context(), tt.method, "http://x"+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Check(r, tt.status, tt.header, []byte(tt.body)); (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
