package functions_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudsession/infra/local/lambdaemu"
	"cloudsession/shared/cloudstore"
)

// look runs the watcher once with the event the clock sends.
func look(t *testing.T, host *lambdaemu.Host) {
	t.Helper()
	event, err := os.ReadFile(filepath.Join("..", "infra", "events", "watch.json"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), slowestRun)
	defer cancel()
	if _, err := host.Invoke(ctx, watcher, event); err != nil {
		t.Errorf("watch: %v", err)
	}
}

// line is one of a function's log that CloudWatch takes metrics from.
type line struct {
	metrics    map[string]string // name to unit
	values     map[string]float64
	dimensions map[string]string
}

// metricsIn reads the metrics of a function's log as CloudWatch does, by the
// specification of its embedded metric format, and holds them against that.
func metricsIn(t *testing.T, log string, earliest time.Time) (all []line) {
	t.Helper()
	for text := range strings.Lines(log) {
		var members map[string]json.RawMessage
		if json.Unmarshal([]byte(text), &members) != nil || members["_aws"] == nil {
			continue
		}
		var aws struct {
			Timestamp         int64
			CloudWatchMetrics []struct {
				Namespace  string
				Dimensions [][]string
				Metrics    []struct{ Name, Unit string }
			}
		}
		dec := json.NewDecoder(bytes.NewReader(members["_aws"]))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&aws); err != nil || len(aws.CloudWatchMetrics) != 1 {
			t.Fatalf("metadata %s: %v", members["_aws"], err)
		}
		if at := time.UnixMilli(aws.Timestamp); at.Before(earliest) || at.After(time.Now()) {
			t.Errorf("timestamp %d is %s", aws.Timestamp, at)
		}
		d := aws.CloudWatchMetrics[0]
		if d.Namespace != "CloudSession" || len(d.Dimensions) != 1 {
			t.Errorf("directive %+v", d)
		}
		l := line{map[string]string{}, map[string]float64{}, map[string]string{}}
		for _, name := range d.Dimensions[0] {
			l.dimensions[name] = member[string](t, members, name)
		}
		for _, m := range d.Metrics {
			l.metrics[m.Name], l.values[m.Name] = m.Unit, member[float64](t, members, m.Name)
		}
		if extra := len(members) - 1 - len(l.dimensions) - len(l.metrics); extra != 0 {
			t.Errorf("%d members are neither metrics nor dimensions: %s", extra, text)
		}
		all = append(all, l)
	}
	return all
}

func member[T string | float64](t *testing.T, members map[string]json.RawMessage, name string) (v T) {
	t.Helper()
	if err := json.Unmarshal(members[name], &v); err != nil {
		t.Errorf("target member %s: %s: %v", name, members[name], err)
	}
	return v
}

// TestWatch runs the watcher's binary over a real database: what it says is what
// the alarms of template.yaml look at.
func TestWatch(t *testing.T) {
	config, store := seeded(t)
	var log bytes.Buffer
	host := hostTo(t, environment(config), &log)
	connect(t, store, "vm-1").take("personal")
	connect(t, store, "vm-2").take("toko")
	stopped := connect(t, store, "vm-3")
	renewed, err := store.RenewLease(t.Context(), "vm-1", lookUp(t, store, "vm-1"), time.Hour, cloudstore.Load{SyncLag: 61500 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(
		store.RetireConnector(t.Context(), "vm-3", stopped.incarnation),
		execute(t, config, "UPDATE connectors SET lease_until = NOW(6) - INTERVAL 1 MINUTE WHERE connector_id = 'vm-2'"),
	); err != nil {
		t.Fatal(err)
	}
	look(t, host)
	host.Close()
	got := metricsIn(t, log.String(), renewed.Now.Add(-time.Minute))
	want := []line{{
		map[string]string{
			"StaleConnectors": "Count", "SyncLag": "Seconds", "LiveConnectors": "Count",
			"SessionsOpen": "Count", "SessionsWithoutOwner": "Count", "CommandsOverdue": "Count",
		},
		map[string]float64{
			"StaleConnectors": 1, "SyncLag": 61.5, "LiveConnectors": 1,
			"SessionsOpen": 1, "SessionsWithoutOwner": 1, "CommandsOverdue": 0,
		},
		map[string]string{"Deployment": "prod"},
	}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(line{})); diff != "" {
		t.Errorf("metrics (-want +got):\n%s\n%s", diff, log.String())
	}
}

func lookUp(t *testing.T, store *cloudstore.Store, id string) (incarnation string) {
	t.Helper()
	c, err := store.Connector(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return c.Incarnation
}

// TestRequestMetrics: each request through a function's binary is one line, which
// names neither a session nor a caller; without DEPLOYMENT there is none.
func TestRequestMetrics(t *testing.T) {
	config, store := seeded(t, "personal")
	connect(t, store, "vm-1").take("personal")
	var log bytes.Buffer
	host := hostTo(t, environment(config), &log)
	began := time.Now()
	tooSlow := 0 // answers of a database on a busy machine: each has its line, too
	for event, status := range map[string]int{"list": 200, "unknown-session": 404, "wrong-method": 405, "sync": 202} {
		patiently(func() int {
			res := invokeOnce(t, host, event)
			switch res.StatusCode {
			case status:
			case http.StatusServiceUnavailable:
				tooSlow++
			default:
				t.Errorf("%s: %d %s", event, res.StatusCode, res.Body)
			}
			return res.StatusCode
		})
	}
	host.Close()
	units := map[string]string{"Requests": "Count", "Errors5xx": "Count", "Latency": "Milliseconds"}
	pending := map[string]string{"Requests": "Count", "Errors5xx": "Count", "Latency": "Milliseconds", "CommandsPending": "Count"}
	want := map[string]map[string]string{"list-sessions": units, "session-status": units, "none": units, "sync-session": pending}
	got := map[string]map[string]string{}
	for _, l := range metricsIn(t, log.String(), began) {
		if l.values["Errors5xx"] == 1 {
			tooSlow--
			continue
		}
		route := l.dimensions["Route"]
		got[route] = l.metrics
		if len(l.dimensions) != 2 || l.dimensions["Deployment"] != "prod" {
			t.Errorf("dimensions %v", l.dimensions)
		}
		if l.values["Requests"] != 1 || l.values["Errors5xx"] != 0 || l.values["Latency"] <= 0 || l.values["Latency"] > slowestRun.Seconds()*1000 {
			t.Errorf("%s: %v", route, l.values)
		}
		// It waited for its second, and the gateway would have for no more than 30.
		if route == "sync-session" && (l.values["CommandsPending"] != 1 || l.values["Latency"] < 1000) {
			t.Errorf("%s: %v", route, l.values)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" || tooSlow != 0 {
		t.Errorf("%d answers of 503 more than lines that count one; metrics (-want +got):\n%s", tooSlow, diff)
	}

	var silent bytes.Buffer
	host = hostTo(t, append(environment(config), "DEPLOYMENT="), &silent)
	invoke(t, host, "list")
	host.Close()
	if lines := metricsIn(t, silent.String(), began); len(lines) > 0 || !strings.Contains(silent.String(), `"route":"list-sessions"`) {
		t.Errorf("without a deployment: %d lines\n%s", len(lines), silent.String())
	}
}
