package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const exposition = `# TYPE cloudsession_change_durable_seconds histogram
cloudsession_change_durable_seconds_bucket{le="0.2"} 10
cloudsession_change_durable_seconds_bucket{le="0.3"} 70
cloudsession_change_durable_seconds_bucket{le="1"} 109
cloudsession_change_durable_seconds_bucket{le="+Inf"} 110
cloudsession_change_durable_seconds_sum 30
cloudsession_change_durable_seconds_count 110
# TYPE go_memstats_heap_inuse_bytes gauge
go_memstats_heap_inuse_bytes 1.5e+06
`

func TestHistogram(t *testing.T) {
	m, err := parseMetrics(strings.NewReader(exposition))
	if err != nil {
		t.Fatal(err)
	}
	if v, err := m.gauge("go_memstats_heap_inuse_bytes"); v != 1.5e6 || err != nil {
		t.Errorf("gauge is %v, %v", v, err)
	}
	if _, err := m.gauge(durable); err == nil {
		t.Error("a histogram was read as a gauge")
	}
	if _, err := m.histogram("cloudsession_nothing"); err == nil {
		t.Error("a histogram was read that isn't there")
	}
	all, err := m.histogram(durable)
	if err != nil {
		t.Fatal(err)
	}
	const ms = time.Millisecond
	before := histogram{10, []bucket{{200 * ms, 10}, {300 * ms, 10}, {time.Second, 10}}}
	h := all.since(before)
	want := histogram{100, []bucket{{200 * ms, 0}, {300 * ms, 60}, {time.Second, 99}}}
	if diff := cmp.Diff(want, h, cmp.AllowUnexported(histogram{}, bucket{})); diff != "" {
		t.Error(diff)
	}
	for q, want := range map[float64]string{0.3: "250ms", 0.6: "300ms", 0.99: "1s", 0.999: "> 1s"} {
		if got := h.text(q); got != want {
			t.Errorf("quantile %v is %s, want %s", q, got, want)
		}
	}
	if !h.within(0.6, 300*ms) || h.within(0.61, 300*ms) || h.within(0.1, 250*ms) || (histogram{}).within(0, time.Second) {
		t.Error("within is wrong")
	}
}
