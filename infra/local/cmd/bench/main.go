// Command bench measures what the design sets targets for, as far as it exists,
// and prints a row each: what, measured, target, and how it was measured. It
// takes some minutes and wants the machine to itself.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// row is one line of the result.
type row struct {
	what, measured, target, how string
}

// measure is one measurement, which gives one row or several.
type measure struct {
	name string
	do   func(context.Context, io.Writer) ([]row, error)
}

// measures are what there is to measure, by the names that `make bench ONLY=…` takes.
var measures = []measure{
	{"capture", captureOverhead},
	{"bytes", bytesPerChange},
	{"push", pushLatency},
	{"wait", acknowledged},
	{"receive", received},
	{"restore", restoreTime},
	{"coldstart", coldStart},
	{"handoff", handoffGap},
	{"failover", failover},
}

// run measures what is named, or everything.
func run(ctx context.Context, only []string, out, progress io.Writer) error {
	for _, name := range only {
		if !slices.ContainsFunc(measures, func(m measure) bool { return m.name == name }) {
			return fmt.Errorf("nothing is called %q", name)
		}
	}
	fmt.Fprintf(out, "machine: %d cores, %s, %s\n", runtime.NumCPU(), cpuModel(), runtime.Version())
	for _, m := range measures {
		if len(only) > 0 && !slices.Contains(only, m.name) {
			continue
		}
		rows, err := m.do(ctx, progress)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		for _, r := range rows {
			fmt.Fprintf(out, "\n%s\n  measured  %s\n  target    %s\n  how       %s\n", r.what, r.measured, r.target, r.how)
		}
	}
	return nil
}

func cpuModel() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	for line := range strings.Lines(string(info)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}
