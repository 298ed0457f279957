//go:build interop

package interop

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestTemplate lets CloudFormation's own linter read the template.
func TestTemplate(t *testing.T) {
	lint := need(t, "cfn-lint", "pip install cfn-lint==1.51.0")
	template := filepath.Join("..", "..", "template.yaml")
	if _, err := os.Stat(template); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), lint, template).CombinedOutput(); err != nil {
		t.Errorf("cfn-lint template.yaml: %v\n%s", err, out)
	}
}
