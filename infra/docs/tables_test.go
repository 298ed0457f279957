package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// compare tells what a text lacks and what it has too much, and what it has twice.
func compare(what string, got, want []string) (problems []string) {
	slices.Sort(got)
	for i, name := range got {
		if i > 0 && got[i-1] == name {
			problems = append(problems, what+" "+name+" is there twice")
		}
		if !slices.Contains(want, name) {
			problems = append(problems, "there is no "+what+" "+name)
		}
	}
	for _, name := range want {
		if !slices.Contains(got, name) {
			problems = append(problems, what+" "+name+" is not explained")
		}
	}
	return problems
}

// alarms are the names of everything that can go off: the template's alarms and the
// rules for Prometheus.
func alarms(t *testing.T) (names []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(top, "template.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^  ([A-Za-z]+):\n    Type: AWS::CloudWatch::Alarm$`).FindAllStringSubmatch(string(text), -1) {
		names = append(names, m[1])
	}
	if len(names) == 0 {
		t.Fatal("template.yaml has no alarms")
	}
	rules, err := filepath.Glob(filepath.Join(top, "infra", "grafana", "alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range rules {
		names = append(names, prometheusAlerts(t, name)...)
	}
	return names
}

// prometheusAlerts reads a file of alerting rules.
func prometheusAlerts(t *testing.T, name string) (names []string) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert string `yaml:"alert"`
			} `yaml:"rules"`
		} `yaml:"groups"`
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			if r.Alert != "" {
				names = append(names, r.Alert)
			}
		}
	}
	return names
}

// explained are the names in the runbook's headings, several to a heading where one
// text serves for all.
func explained(d document) (names []string) {
	for _, h := range d.headings {
		if h.level == 3 {
			names = append(names, regexp.MustCompile(`[A-Z][A-Za-z]+`).FindAllString(h.text, -1)...)
		}
	}
	return names
}

// TestRunbook: each alarm has its place in the runbook, and nothing else has.
func TestRunbook(t *testing.T) {
	want := alarms(t)
	d := read(t, "docs/runbook.md")
	for _, problem := range compare("alarm", explained(d), want) {
		t.Error(problem)
	}
	spoiled := parse(d.name, strings.Replace(d.text, "### DeadLettersAlarm", "### NewAlarm", 1))
	if got := compare("alarm", explained(spoiled), want); len(got) != 2 {
		t.Errorf("of an alarm that is renamed is said: %q", got)
	}
}

// firstColumn are the names in the first column of a section's table.
func firstColumn(section string) (names []string) {
	for _, m := range regexp.MustCompile("(?m)^\\| ((?:`[^`]+`(?:, )?)+)").FindAllStringSubmatch(section, -1) {
		for _, s := range span.FindAllStringSubmatch(m[1], -1) {
			names = append(names, s[1])
		}
	}
	return names
}

// TestErrorCodes: every code of the API is explained.
func TestErrorCodes(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(top, "functions", "api", "openapi.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var spec struct {
		Components struct {
			Schemas struct {
				Code struct {
					Enum []string `yaml:"enum"`
				} `yaml:"Code"`
			} `yaml:"schemas"`
		} `yaml:"components"`
	}
	if err := yaml.Unmarshal(text, &spec); err != nil {
		t.Fatal(err)
	}
	want := spec.Components.Schemas.Code.Enum
	if len(want) == 0 {
		t.Fatal("openapi.yaml lists no codes")
	}
	d := read(t, "docs/troubleshooting.md")
	for _, problem := range compare("code", firstColumn(d.section("Errors of the API")), want) {
		t.Error(problem)
	}
}

// TestStates: every state that a session can be in is explained.
func TestStates(t *testing.T) {
	var want []string
	state := regexp.MustCompile(`(?m)^\s*(?:const )?State[A-Za-z]+\s+(?:whatsapp\.)?State = "([^"]+)"`)
	for _, folder := range []string{"whatsapp", "manager"} {
		files, err := filepath.Glob(filepath.Join(top, "connector", folder, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range state.FindAllStringSubmatch(string(text), -1) {
				want = append(want, m[1])
			}
		}
	}
	if len(want) == 0 {
		t.Fatal("no states found")
	}
	d := read(t, "docs/troubleshooting.md")
	for _, problem := range compare("state", firstColumn(d.section("States of a session")), want) {
		t.Error(problem)
	}
}
