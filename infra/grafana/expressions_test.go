// Package grafana holds the dashboard and the alerts of the connectors' metrics. It
// is a module of its own for the sake of Prometheus' parser, which only these
// tests need.
package grafana

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"
	"gopkg.in/yaml.v3"
)

// expression is one that Prometheus is to evaluate, and where it stands.
type expression struct{ where, text string }

func dashboard(t *testing.T) (all []expression) {
	t.Helper()
	var d struct {
		Panels []struct {
			ID      int
			Type    string
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr, RefID string }
		}
	}
	read(t, "dashboard.json", &d, json.Unmarshal)
	ids := map[int]bool{}
	for _, p := range d.Panels {
		if ids[p.ID] || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %q: id %d is used twice, or it is too wide: %+v", p.Title, p.ID, p.GridPos)
		}
		ids[p.ID] = true
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			all = append(all, expression{"panel " + p.Title + ", " + target.RefID, target.Expr})
		}
	}
	return all
}

type alert struct {
	Alert, Expr, For string
	Labels           map[string]string
	Annotations      map[string]string
}

func alerts(t *testing.T) (all []alert) {
	t.Helper()
	var d struct{ Groups []struct{ Rules []alert } }
	read(t, "alerts.yaml", &d, yaml.Unmarshal)
	for _, g := range d.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

func read(t *testing.T, file string, into any, unmarshal func([]byte, any) error) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err == nil {
		err = unmarshal(text, into)
	}
	if err != nil {
		t.Fatalf("read %s: %v", file, err)
	}
}

// documented are the metrics of connector/metrics/README.md, which its own test
// holds against what is registered, with their labels and the labels' values;
// histograms by their three series.
func documented(t *testing.T) map[string]map[string][]string {
	t.Helper()
	text, err := os.ReadFile("../../connector/metrics/README.md")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]map[string][]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(cloudsession_[a-z_]+)` \\| ([a-z]+) \\| [a-z]* \\| ([^|]*) \\|").FindAllStringSubmatch(string(text), -1) {
		of := map[string][]string{}
		for part := range strings.SplitSeq(m[3], "; ") {
			name, values, _ := strings.Cut(strings.TrimSpace(part), ": ")
			if name = strings.Trim(name, "`"); name != "" {
				of[name] = strings.Split(values, ", ")
			}
		}
		if m[2] != "histogram" {
			all[m[1]] = of
			continue
		}
		all[m[1]+"_sum"], all[m[1]+"_count"] = of, of
		all[m[1]+"_bucket"] = maps.Clone(of)
		all[m[1]+"_bucket"]["le"] = nil
	}
	if len(all) < 40 {
		t.Fatalf("README.md lists %d series", len(all))
	}
	return all
}

// notOurs are metrics that somebody else defines: the scrape itself, the process
// and Go runtime collectors.
func notOurs(name string) bool {
	return name == "up" || strings.HasPrefix(name, "process_") || strings.HasPrefix(name, "go_")
}

// check parses an expression and compares what it selects with what there is. It
// notes the metrics used.
func check(t *testing.T, e expression, known map[string]map[string][]string, used map[string]bool) {
	t.Helper()
	// Grafana fills these in; a variable within a string needs no help to be parsed.
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(strings.ReplaceAll(e.text, "$__rate_interval", "5m"))
	if err != nil {
		t.Errorf("%s: %v\n%s", e.where, err, e.text)
		return
	}
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		selector, ok := node.(*parser.VectorSelector)
		if !ok || notOurs(selector.Name) {
			return nil
		}
		has, ok := known[selector.Name]
		if !ok {
			t.Errorf("%s: there is no metric %s", e.where, selector.Name)
			return nil
		}
		used[selector.Name] = true
		for _, m := range selector.LabelMatchers {
			if m.Name == model.MetricNameLabel || m.Name == "instance" || m.Name == "job" {
				continue
			}
			values, ok := has[m.Name]
			if !ok {
				t.Errorf("%s: %s has no label %s", e.where, selector.Name, m.Name)
			} else if !slices.ContainsFunc(values, m.Matches) {
				t.Errorf("%s: %s selects no value of %s", e.where, m, selector.Name)
			}
		}
		return nil
	})
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		if a, ok := node.(*parser.AggregateExpr); ok {
			checkGrouping(t, e, a, known)
		}
		return nil
	})
}

// checkGrouping: what is summed by a label has it.
func checkGrouping(t *testing.T, e expression, a *parser.AggregateExpr, known map[string]map[string][]string) {
	t.Helper()
	parser.Inspect(a.Expr, func(node parser.Node, _ []parser.Node) error {
		s, ok := node.(*parser.VectorSelector)
		if !ok || notOurs(s.Name) {
			return nil
		}
		for _, label := range a.Grouping {
			if _, has := known[s.Name][label]; !has && label != "instance" {
				t.Errorf("%s: %s has no label %s to group by", e.where, s.Name, label)
			}
		}
		return nil
	})
}

// TestDashboard: its expressions are Prometheus', about metrics that there are, and
// no metric is left out.
func TestDashboard(t *testing.T) {
	known, used := documented(t), map[string]bool{}
	for _, e := range dashboard(t) {
		check(t, e, known, used)
	}
	for name := range known {
		base := name
		for _, series := range []string{"_bucket", "_sum", "_count"} {
			base = strings.TrimSuffix(base, series)
		}
		if !used[name] && !used[base+"_bucket"] && !used[base+"_count"] {
			t.Errorf("no panel shows %s", name)
		}
	}
}

func TestAlerts(t *testing.T) {
	known, seen := documented(t), map[string]bool{}
	for _, a := range alerts(t) {
		check(t, expression{"alert " + a.Alert, a.Expr}, known, map[string]bool{})
		if seen[a.Alert] || !strings.HasPrefix(a.Alert, "CloudSession") {
			t.Errorf("alert %q is there twice, or has a name of another kind", a.Alert)
		}
		seen[a.Alert] = true
		if s := a.Labels["severity"]; s != "warning" && s != "critical" || a.Annotations["summary"] == "" || a.Annotations["description"] == "" {
			t.Errorf("alert %s: %v %v, want a severity, a summary and a description", a.Alert, a.Labels, a.Annotations)
		}
	}
	if len(seen) < 10 {
		t.Errorf("only %d alerts were read", len(seen))
	}
}
