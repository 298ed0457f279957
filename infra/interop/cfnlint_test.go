//go:build interop

package interop

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cloudsession/functions/api"
)

const cfnLint = "make interop installs it"

func templateFile(t *testing.T) string {
	t.Helper()
	file := filepath.Join("..", "..", "template.yaml")
	if _, err := os.Stat(file); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestCfnLint lets CloudFormation's own linter read the template: as it is, and
// as SAM makes it CloudFormation's.
func TestCfnLint(t *testing.T) {
	lint := need(t, "cfn-lint", cfnLint)
	if out, err := exec.CommandContext(t.Context(), lint, templateFile(t)).CombinedOutput(); err != nil {
		t.Errorf("cfn-lint template.yaml: %v\n%s", err, out)
	}
}

// transformed is the part of a CloudFormation template that is looked at.
type transformed struct {
	Resources map[string]struct {
		Type       string
		Properties struct {
			Body struct {
				Paths map[string]map[string]json.RawMessage
			}
		}
	}
}

// transform runs AWS's own SAM transform, which comes with cfn-lint.
func transform(t *testing.T) transformed {
	t.Helper()
	python := need(t, "python3", "apt-get install python3")
	needModule(t, python, "samtranslator", cfnLint)
	cmd := exec.CommandContext(t.Context(), python, "sam.py", templateFile(t))
	cmd.Env = append(os.Environ(), "AWS_DEFAULT_REGION=ap-southeast-1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("transform template.yaml: %v\n%s", err, stderr.String())
	}
	var made transformed
	if err := json.Unmarshal(out, &made); err != nil {
		t.Fatal(err)
	}
	return made
}

// TestCfnTransform: what SAM makes of the template has our routes, and no role,
// policy or other resource that the template does not name.
func TestCfnTransform(t *testing.T) {
	source, err := os.ReadFile(templateFile(t))
	if err != nil {
		t.Fatal(err)
	}
	made := []string{"AWS::ApiGatewayV2::Stage", "AWS::Lambda::Permission", "AWS::Lambda::EventInvokeConfig", "AWS::Events::Rule"}
	var got, want []string
	functions := 0
	for name, r := range transform(t).Resources {
		if !strings.Contains(string(source), "\n  "+name+":\n") && !slices.Contains(made, r.Type) {
			t.Errorf("SAM adds %s, a %s", name, r.Type)
		}
		if r.Type == "AWS::Lambda::Function" {
			functions++
		}
		for path, methods := range r.Properties.Body.Paths {
			for method := range methods {
				got = append(got, strings.ToUpper(method)+" "+path)
			}
		}
	}
	for _, r := range api.Routes() {
		want = append(want, r.Method+" "+r.Path, "X-AMAZON-APIGATEWAY-ANY-METHOD "+r.Path)
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("routes\n%s", diff)
	}
	if functions != len(api.Routes())+1 { // one watches the connectors
		t.Errorf("%d functions", functions)
	}
}
