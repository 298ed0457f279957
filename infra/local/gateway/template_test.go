package gateway

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cloudsession/functions/api"
)

// TestTemplate: the project's own template leads every route of the API to its
// function, and every other method of those paths to one of their functions.
func TestTemplate(t *testing.T) {
	routes, err := ReadTemplate(filepath.Join("..", "..", "..", "template.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range api.Routes() {
		path := strings.NewReplacer("{sessionId}", "personal", "{commandId}", "1").Replace(want.Path)
		got, _, ok := match(routes, want.Method, path)
		if !ok || got.Function != want.Name || got.Path != want.Path || got.Timeout <= 0 {
			t.Errorf("%s %s leads to %+v, want %s", want.Method, want.Path, got, want.Name)
		}
		if _, _, ok := match(routes, "PATCH", path); !ok {
			t.Errorf("PATCH %s has no route", want.Path)
		}
	}
}

func TestParseTemplate(t *testing.T) {
	const function = `
Resources:
  F:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: %
      Timeout: 7
      Environment: {Variables: {A: !Sub "${B}", C: !GetAtt D.Arn}}
      Events:
        R: {Type: HttpApi, Properties: {ApiId: !Ref Api, Method: get, Path: '/a/{b}'}}
        S: {Type: Schedule, Properties: {Schedule: rate(1 day)}}
  Q: {Type: AWS::SQS::Queue, Properties: [1, 2]}
`
	got, err := parseTemplate([]byte(strings.Replace(function, "%", "functions/f/", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Route{{Method: "GET", Path: "/a/{b}", Function: "f", Timeout: 7e9}}, got); diff != "" {
		t.Error(diff)
	}
	for name, text := range map[string]string{
		"not YAML":   "\t",
		"no routes":  "Resources: {}",
		"no folder":  strings.Replace(function, "%", ".", 1),
		"greedy":     strings.Replace(strings.Replace(function, "%", "f", 1), "{b}", "{b+}", 1),
		"no method":  strings.Replace(strings.Replace(function, "%", "f", 1), "Method: get, ", "", 1),
		"same twice": strings.Replace(function, "%", "f", 1) + strings.Replace(strings.Replace(function, "%", "g", 1)[len("\nResources:"):], "F:", "G:", 1),
	} {
		if got, err := parseTemplate([]byte(text)); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if _, err := ReadTemplate("does/not/exist.yaml"); err == nil {
		t.Error("read a template that isn't there")
	}
}
