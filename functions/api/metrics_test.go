package api_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cloudsession/functions/api"
	"cloudsession/functions/emf"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/command"
)

// TestMetrics: what each kind of answer counts as.
func TestMetrics(t *testing.T) {
	var out bytes.Buffer
	w := newWorld(t, func(o *api.Options) { o.Metrics = emf.New(&out, "prod") })
	w.add("personal", "vm-1")
	w.connect("vm-1")
	w.queue.on = func(_ string, m command.Message) { w.move(m.CommandID, cloudstore.CommandDone) }
	take := func() (values map[string]any) {
		t.Helper()
		if err := json.Unmarshal(out.Bytes(), &values); err != nil {
			t.Fatalf("%s: %v", out.String(), err)
		}
		out.Reset()
		for _, name := range []string{"Latency", "CommandLatency"} {
			if v, ok := values[name].(float64); ok && v >= 0 {
				values[name] = "some"
			}
		}
		delete(values, "_aws")
		return values
	}
	want := func(values map[string]any) {
		t.Helper()
		if diff := cmp.Diff(values, take()); diff != "" {
			t.Errorf("metrics (-want +got):\n%s", diff)
		}
	}
	w.do("POST", "/cloud/sessions/personal/sync")
	want(map[string]any{"Deployment": "prod", "Route": "sync-session", "Requests": 1.0, "Errors5xx": 0.0, "Latency": "some", "CommandLatency": "some", "CommandsPending": 0.0})
	w.do("GET", "/cloud/nothing")
	want(map[string]any{"Deployment": "prod", "Route": "none", "Requests": 1.0, "Errors5xx": 0.0, "Latency": "some"})
	w.fail = func(string) error { return errDown }
	w.do("GET", "/cloud/sessions")
	want(map[string]any{"Deployment": "prod", "Route": "list-sessions", "Requests": 1.0, "Errors5xx": 1.0, "Latency": "some"})
}
