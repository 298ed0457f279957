package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// expressions are all that the dashboard and the alerts evaluate.
func expressions(t *testing.T) (dashboard, alerts []string) {
	t.Helper()
	folder := filepath.Join("..", "..", "grafana")
	var d struct {
		Panels []struct{ Targets []struct{ Expr string } }
	}
	text, err := os.ReadFile(filepath.Join(folder, "dashboard.json"))
	if err == nil {
		err = json.Unmarshal(text, &d)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			dashboard = append(dashboard, target.Expr)
		}
	}
	var a struct {
		Groups []struct{ Rules []struct{ Expr string } }
	}
	if text, err = os.ReadFile(filepath.Join(folder, "alerts.yaml")); err == nil {
		err = yaml.Unmarshal(text, &a)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range a.Groups {
		for _, r := range g.Rules {
			alerts = append(alerts, r.Expr)
		}
	}
	return dashboard, alerts
}

// metricName finds the names in an expression; what Prometheus itself parses is
// checked in infra/grafana.
var metricName = regexp.MustCompile(`\b(?:cloudsession|process|go)_[a-z_]+`)

// TestDashboardShowsWhatIsServed: a real connector serves every metric that the
// dashboard and the alerts name, and the dashboard leaves none of its own out.
func TestDashboardShowsWhatIsServed(t *testing.T) {
	s := newScene(t)
	c := s.connector("c")
	status, body := s.ask(c, "/metrics")
	if status != http.StatusOK {
		t.Fatalf("/metrics: %d %s", status, body)
	}
	served := map[string]bool{} // by series
	for line := range strings.Lines(string(body)) {
		if name := metricName.FindString(line); strings.HasPrefix(line, name) {
			served[name] = true
		}
	}
	dashboard, alerts := expressions(t)
	if len(dashboard) < 40 || len(alerts) < 10 {
		t.Fatalf("%d expressions in the dashboard, %d in the alerts", len(dashboard), len(alerts))
	}
	shown := map[string]bool{}
	for i, expr := range append(alerts, dashboard...) {
		for _, name := range metricName.FindAllString(expr, -1) {
			if !served[name] {
				t.Errorf("%s names %s, which isn't served", expr, name)
			}
			if i >= len(alerts) {
				shown[family(name)] = true
			}
		}
	}
	for name := range served {
		if strings.HasPrefix(name, "cloudsession_") && !shown[family(name)] {
			t.Errorf("the dashboard doesn't show %s", name)
		}
	}
}

// family is the metric that a series belongs to.
func family(name string) string {
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		name = strings.TrimSuffix(name, suffix)
	}
	return name
}
