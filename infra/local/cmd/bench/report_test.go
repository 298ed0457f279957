package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestMarkdown(t *testing.T) {
	r := &report{
		settings: defaults, machine: []string{"2 cores", "linux"}, took: time.Hour,
		began: time.Date(2026, 1, 22, 10, 30, 0, 0, time.UTC),
		outcomes: []outcome{
			{name: "push", rows: []row{{"a | b", "1 ms", "≤ 2 ms", "so\n  and so", true}, {"c", "3 ms", "≤ 2 ms", "so", false}}},
			{name: "live", err: errors.New("no sessions\nand a log")},
		},
	}
	var b bytes.Buffer
	if err := r.markdown(&b); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"| command | `make bench BENCH_SESSIONS=1000 BENCH_DURATION=10m0s BENCH_SETTLE=2m30s` |",
		"| machine | 2 cores; linux |",
		"| date | 2026-01-22, 1h0m0s in all |",
		`| push | a \| b | ≤ 2 ms | 1 ms | yes | so and so |`,
		"| push | c | ≤ 2 ms | 3 ms | no | so |",
		"| live | – | – | not measured: no sessions | no | – |",
	} {
		if !strings.Contains(b.String(), line+"\n") {
			t.Errorf("no line %s in\n%s", line, b.String())
		}
	}
}

func TestUnknownMeasure(t *testing.T) {
	err := run(t.Context(), []string{"nothing"}, env(nil), &bytes.Buffer{}, &bytes.Buffer{})
	if err == nil || !strings.Contains(err.Error(), `nothing is called "nothing"`) {
		t.Errorf("got %v", err)
	}
}
