package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
)

// results are a package's benchmarks: name without "Benchmark" and the
// processor suffix, then unit, then value.
type results map[string]map[string]float64

// all returns metrics of one unit, in the order of names.
func (r results) all(unit string, names ...string) ([]float64, error) {
	values := make([]float64, len(names))
	errs := make([]error, len(names))
	for i, name := range names {
		values[i], errs[i] = r.need(name, unit)
	}
	return values, errors.Join(errs...)
}

// need returns a metric, or an error when the benchmark did not report it: a
// renamed benchmark must not quietly drop a row.
func (r results) need(name, unit string) (float64, error) {
	v, ok := r[name][unit]
	if !ok {
		return 0, fmt.Errorf("benchmark %s reported no %s", name, unit)
	}
	return v, nil
}

// goBench runs a package's benchmarks.
func goBench(ctx context.Context, progress io.Writer, pkg, pattern, benchtime string) (results, error) {
	fmt.Fprintf(progress, "measuring %s (%s) …\n", pkg, pattern)
	args := []string{"test", "-run", "^$", "-bench", pattern, "-benchtime", benchtime, "-timeout", "20m", pkg}
	cmd := exec.CommandContext(ctx, "go", args...) //nolint:gosec // the arguments stand in this program
	// The benchmarks themselves are a process of go's: a group of their own ends with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out.String())
	}
	return parseBench(out.String())
}

var suffix = regexp.MustCompile(`-\d+$`)

// parseBench reads the format of https://go.dev/design/14313-benchmark-format.
func parseBench(text string) (results, error) {
	r := results{}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 4 || !strings.HasPrefix(f[0], "Benchmark") {
			continue
		}
		name := suffix.ReplaceAllString(strings.TrimPrefix(f[0], "Benchmark"), "")
		metrics := map[string]float64{}
		for i := 2; i+1 < len(f); i += 2 {
			v, err := strconv.ParseFloat(f[i], 64)
			if err != nil {
				return nil, fmt.Errorf("read benchmark line %q: %w", line, err)
			}
			metrics[f[i+1]] = v
		}
		r[name] = metrics
	}
	return r, nil
}
