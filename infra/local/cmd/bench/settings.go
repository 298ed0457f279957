package main

import (
	"fmt"
	"os"
	"strconv"
	"time"
)

// settings are what the environment says of a run.
type settings struct {
	sessions int           // BENCH_SESSIONS: how many are live, idle or failing over at once
	duration time.Duration // BENCH_DURATION: how long they change once a second
	settle   time.Duration // BENCH_SETTLE: how long a connector is left alone before its memory is read
	markdown string        // BENCH_MARKDOWN: a new file for the result besides standard output
}

// defaults are the sizes that the targets are set for. Go collects garbage of an
// idle process every two minutes, hence the time to settle.
var defaults = settings{sessions: 1000, duration: 10 * time.Minute, settle: 150 * time.Second}

func readSettings(getenv func(string) string) (settings, error) {
	s := defaults
	s.markdown = getenv("BENCH_MARKDOWN")
	if _, err := os.Lstat(s.markdown); s.markdown != "" && err == nil {
		return s, fmt.Errorf("BENCH_MARKDOWN: %s exists, perhaps with another run's result; name a new file", s.markdown)
	}
	if v := getenv("BENCH_SESSIONS"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 2 {
			return s, fmt.Errorf("BENCH_SESSIONS: %q is not a number of sessions, 2 or more", v)
		}
		s.sessions = n
	}
	for _, d := range []struct {
		name  string
		value *time.Duration
	}{{"BENCH_DURATION", &s.duration}, {"BENCH_SETTLE", &s.settle}} {
		v := getenv(d.name)
		if v == "" {
			continue
		}
		parsed, err := time.ParseDuration(v)
		if err != nil || parsed < time.Second {
			return s, fmt.Errorf("%s: %q is not a time of a second or more, such as 30s or 10m", d.name, v)
		}
		*d.value = parsed
	}
	return s, nil
}

// command is the command line that makes this run again; where it writes the result
// is no part of it.
func (s settings) command(only []string) string {
	text := fmt.Sprintf("make bench BENCH_SESSIONS=%d BENCH_DURATION=%s BENCH_SETTLE=%s", s.sessions, s.duration, s.settle)
	if len(only) > 0 {
		text += fmt.Sprintf(" ONLY=%q", joined(only))
	}
	return text
}
