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
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Stdout, os.Stderr)
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

func run(ctx context.Context, out, progress io.Writer) error {
	fmt.Fprintf(out, "machine: %d cores, %s, %s\n", runtime.NumCPU(), cpuModel(), runtime.Version())
	for _, measure := range []func(context.Context, io.Writer) ([]row, error){
		captureOverhead, bytesPerChange, pushLatency, acknowledged, restoreTime, coldStart, handoffGap, failover,
	} {
		rows, err := measure(ctx, progress)
		if err != nil {
			return err
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
