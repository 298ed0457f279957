package main

import (
	"os"
	"testing"
	"time"
)

func TestParseUsage(t *testing.T) {
	cpu, err := parseStat([]byte("4242 (a name) with) S 1 4242 4242 0 -1 4194560 100 200 3 4 1234 66 0 0 20 0 9 0 100 200 300\n"))
	if err != nil || cpu != 13*time.Second {
		t.Errorf("processor time %v, %v; want 13s", cpu, err)
	}
	if _, err := parseStat([]byte("4242 (short) S 1")); err == nil {
		t.Error("a stat without times was read")
	}
	rss, err := parseRollup([]byte("55d0-7fff ---p 00000000 00:00 0    [rollup]\nRss:               10240 kB\nPss:                9000 kB\n"))
	if err != nil || rss != 10<<20 {
		t.Errorf("memory %d, %v; want 10 MiB", rss, err)
	}
	if _, err := parseRollup([]byte("Pss: 1 kB\n")); err == nil {
		t.Error("a rollup without Rss was read")
	}
}

func TestUsageOf(t *testing.T) {
	u, err := usageOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if u.resident < 1<<20 || u.cpu < 0 {
		t.Errorf("this process has used %+v", u)
	}
	if _, err := usageOf(1 << 30); err == nil {
		t.Error("a process that isn't there has a usage")
	}
}

func TestPerSession(t *testing.T) {
	if got := perSession(memory{0, 30e6, 5e6}, memory{500, 130e6, 60e6}); got != 200_000 {
		t.Errorf("each takes %d, want 200000", got)
	}
}
