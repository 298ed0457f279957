package grafana

import (
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql/parser"
)

// scrapeEvery is what both alerts.yaml and docs/deploy.md tell Prometheus.
func scrapeEvery(t *testing.T) (every time.Duration) {
	t.Helper()
	for _, path := range []string{"alerts.yaml", "../../docs/deploy.md"} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(`scrape_interval: ([0-9]+s)`).FindSubmatch(text)
		if found == nil {
			t.Fatalf("%s has no scrape_interval", path)
		}
		d, err := time.ParseDuration(string(found[1]))
		if err != nil || every != 0 && d != every {
			t.Fatalf("%s: scrape_interval %s, %v; elsewhere %s", path, found[1], err, every)
		}
		every = d
	}
	return every
}

// TestHeartbeatAlertComesBeforeTheWatchdog: a loop that stands still has no scrape
// after WatchdogSec=, so the alert must be due by the last one before it, and must
// still be seen by a Prometheus that evaluates its rules only later.
func TestHeartbeatAlertComesBeforeTheWatchdog(t *testing.T) {
	text, err := os.ReadFile("../systemd/cloudsession-connector.service")
	if err != nil {
		t.Fatal(err)
	}
	unit := regexp.MustCompile(`(?m)^WatchdogSec=(\S+)$`).FindSubmatch(text)
	if unit == nil {
		t.Fatal("the unit has no WatchdogSec=")
	}
	watchdog, err := time.ParseDuration(string(unit[1]))
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range alerts(t) {
		if a.Alert != "CloudSessionHeartbeatStalled" {
			continue
		}
		expr, err := parser.NewParser(parser.Options{}).ParseExpr(a.Expr)
		if err != nil {
			t.Fatal(err)
		}
		compared, ok := expr.(*parser.BinaryExpr)
		if !ok {
			t.Fatalf("%s compares nothing", a.Expr)
		}
		limit, ok := compared.RHS.(*parser.NumberLiteral)
		if !ok {
			t.Fatalf("%s compares with no number", a.Expr)
		}
		if due := time.Duration(limit.Val*float64(time.Second)) + a.lasts(t) + scrapeEvery(t); due > watchdog {
			t.Errorf("%s for %q is due %v after the last heartbeat; the watchdog ends the connector after %v", a.Expr, a.For, due, watchdog)
		}
		if call, ok := compared.LHS.(*parser.Call); !ok || call.Func.Name != "max_over_time" {
			t.Errorf("%s is over when the connector has started again, perhaps before it was evaluated", a.Expr)
		}
		return
	}
	t.Error("there is no such alert")
}

// TestSendsAlertLooksAtAnAge: a busy connector always has some send that is under
// way, so their number being above 0 says nothing.
func TestSendsAlertLooksAtAnAge(t *testing.T) {
	for _, a := range alerts(t) {
		if a.Alert != "CloudSessionSendsUnfinished" {
			continue
		}
		if !regexp.MustCompile(`^cloudsession_\w+_age_seconds > [0-9]+$`).MatchString(a.Expr) {
			t.Errorf("%s compares no age", a.Expr)
		}
		if a.lasts(t) == 0 {
			t.Error("a connector that has just taken a session with an old send has no time to repeat it")
		}
		return
	}
	t.Error("there is no such alert")
}

// lasts is how long the alert's condition has to hold.
func (a alert) lasts(t *testing.T) time.Duration {
	t.Helper()
	if a.For == "" {
		return 0
	}
	d, err := time.ParseDuration(a.For)
	if err != nil {
		t.Fatalf("alert %s: %v", a.Alert, err)
	}
	return d
}
