package metrics

import (
	"os/exec"
	"strings"
	"testing"
)

// Only the connector's program and this package link Prometheus: what does the
// work knows nothing of who counts it.
func TestOnlyMainLinksPrometheus(t *testing.T) {
	const format = `{{if not .Standard}}{{.ImportPath}}{{range .Deps}} {{.}}{{end}}{{end}}`
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", format,
		"cloudsession/connector/...", "cloudsession/shared/...", "cloudsession/functions/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	linking := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		pkg, deps, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.Contains(deps, "github.com/prometheus/") {
			linking[pkg] = true
		}
	}
	for _, may := range []string{"cloudsession/connector", "cloudsession/connector/metrics"} {
		if !linking[may] {
			t.Errorf("%s doesn't link Prometheus: this test sees nothing", may)
		}
		delete(linking, may)
	}
	for pkg := range linking {
		t.Errorf("%s links Prometheus", pkg)
	}
}
