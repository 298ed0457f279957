package main

import (
	"os"
	"path/filepath"
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
	fresh := filepath.Join(t.TempDir(), "x.md")
	s, err = readSettings(env(map[string]string{"BENCH_SESSIONS": "20", "BENCH_DURATION": "30s", "BENCH_SETTLE": "5s", "BENCH_MARKDOWN": fresh}))
	if want := (settings{20, 30 * time.Second, 5 * time.Second, fresh}); err != nil || s != want {
		t.Errorf("got %+v, %v", s, err)
	}
	const command = `make bench BENCH_SESSIONS=20 BENCH_DURATION=30s BENCH_SETTLE=5s ONLY="idle live"`
	if got := s.command([]string{"idle", "live"}); got != command {
		t.Errorf("command is %s", got)
	}
	for name, value := range map[string]string{"BENCH_SESSIONS": "1", "BENCH_DURATION": "10", "BENCH_SETTLE": "1ms"} {
		if _, err := readSettings(env(map[string]string{name: value})); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s=%s: %v", name, value, err)
		}
	}
}

// TestResultsAreNotOverwritten: a file that exists is refused before anything is
// measured, and stays as it is if it came meanwhile.
func TestResultsAreNotOverwritten(t *testing.T) {
	name, before := filepath.Join(t.TempDir(), "BENCHMARKS.md"), []byte("tables of other runs")
	if err := os.WriteFile(name, before, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readSettings(env(map[string]string{"BENCH_MARKDOWN": name})); err == nil || !strings.Contains(err.Error(), "BENCH_MARKDOWN") {
		t.Errorf("settings: %v", err)
	}
	if err := (&report{settings: settings{markdown: name}}).write(); err == nil {
		t.Error("the result was written over it")
	}
	if after, err := os.ReadFile(name); err != nil || string(after) != string(before) {
		t.Errorf("the file is now %q, %v", after, err)
	}
}
