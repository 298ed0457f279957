package emf_test

import (
	"bytes"
	"testing"
	"time"

	"cloudsession/functions/emf"
)

func TestPut(t *testing.T) {
	var out bytes.Buffer
	w := emf.New(&out, "prod")
	at := time.Date(2026, 1, 22, 10, 30, 45, 678_900_000, time.UTC)
	if err := w.Put(at, []emf.Metric{{"Requests", emf.Count, 1}, {"Latency", emf.Milliseconds, 12.5}}, emf.Dimension{Name: "Route", Value: "list-sessions"}); err != nil {
		t.Fatal(err)
	}
	if err := w.Put(at, []emf.Metric{{"SyncLag", emf.Seconds, 0}}); err != nil {
		t.Fatal(err)
	}
	want := `{"Deployment":"prod","Latency":12.5,"Requests":1,"Route":"list-sessions","_aws":{"Timestamp":1769077845678,"CloudWatchMetrics":[` +
		`{"Namespace":"CloudSession","Dimensions":[["Deployment","Route"]],"Metrics":[{"Name":"Requests","Unit":"Count"},{"Name":"Latency","Unit":"Milliseconds"}]}]}}
{"Deployment":"prod","SyncLag":0,"_aws":{"Timestamp":1769077845678,"CloudWatchMetrics":[` +
		`{"Namespace":"CloudSession","Dimensions":[["Deployment"]],"Metrics":[{"Name":"SyncLag","Unit":"Seconds"}]}]}}
`
	if out.String() != want {
		t.Errorf("wrote\n%swant\n%s", out.String(), want)
	}
}

func TestWithoutDeployment(t *testing.T) {
	var out bytes.Buffer
	if err := emf.New(&out, "").Put(time.Now(), []emf.Metric{{"Requests", emf.Count, 1}}); err != nil || out.Len() > 0 {
		t.Errorf("wrote %q, %v", out.String(), err)
	}
}
