package main

import (
	"strings"
	"testing"
	"time"
)

func env(values map[string]string) func(string) string {
	return func(name string) string { return values[name] }
}

func TestReadSettings(t *testing.T) {
	s, err := readSettings(env(nil))
	if err != nil || s != defaults {
		t.Errorf("without variables: %+v, %v", s, err)
	}
	s, err = readSettings(env(map[string]string{"BENCH_SESSIONS": "20", "BENCH_DURATION": "30s", "BENCH_SETTLE": "5s", "BENCH_MARKDOWN": "x.md"}))
	if want := (settings{20, 30 * time.Second, 5 * time.Second, "x.md"}); err != nil || s != want {
		t.Errorf("got %+v, %v", s, err)
	}
	const command = `make bench BENCH_SESSIONS=20 BENCH_DURATION=30s BENCH_SETTLE=5s BENCH_MARKDOWN=x.md ONLY="idle live"`
	if got := s.command([]string{"idle", "live"}); got != command {
		t.Errorf("command is %s", got)
	}
	for name, value := range map[string]string{"BENCH_SESSIONS": "1", "BENCH_DURATION": "10", "BENCH_SETTLE": "1ms"} {
		if _, err := readSettings(env(map[string]string{name: value})); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s=%s: %v", name, value, err)
		}
	}
}
