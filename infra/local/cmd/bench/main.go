// Command bench measures what the design sets targets for and prints a row
// each: what, measured, target, whether it was met, and how it was measured. All
// of it takes about an hour and wants the machine to itself. Arguments pick
// measurements by name; BENCH_SESSIONS, BENCH_DURATION and BENCH_SETTLE make them
// smaller; BENCH_MARKDOWN names a new file for the result, of which BENCHMARKS.md takes
// its tables.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is a run: what its measurements share.
type bench struct {
	settings
	progress io.Writer
	many     *fleet // the sessions of idle, live and failover; nil until first needed
	manyErr  error  // why there are none
	tally    tally
}

// measure is one measurement, which gives one row or several.
type measure struct {
	name string
	do   func(*bench, context.Context) ([]row, error)
}

// measures are what there is to measure, by the names that `make bench ONLY=…`
// takes. idle, live and failover share their sessions, in this order; losses sums
// up over all the others.
var measures = []measure{
	{"capture", captureOverhead},
	{"bytes", bytesPerChange},
	{"node", nodeService},
	{"push", pushLatency},
	{"wait", acknowledged},
	{"receive", received},
	{"restore", restoreTime},
	{"coldstart", coldStart},
	{"handoff", handoffGap},
	{"failover1", failoverOne},
	{"idle", idleMemory},
	{"live", liveChanges},
	{"failover", failoverMany},
	{"losses", losses},
}

// longest is what one measurement may take besides what the settings say. Pairing
// a thousand sessions is the longest part.
const longest = 30 * time.Minute

// run measures what is named, or everything. A measurement that fails keeps
// nobody from the others; its error is returned at the end.
func run(ctx context.Context, only []string, getenv func(string) string, out, progress io.Writer) (err error) {
	for _, name := range only {
		if !slices.ContainsFunc(measures, func(m measure) bool { return m.name == name }) {
			return fmt.Errorf("nothing is called %q", name)
		}
	}
	s, err := readSettings(getenv)
	if err != nil {
		return err
	}
	b := &bench{settings: s, progress: progress}
	defer func() { err = errors.Join(err, b.disband()) }()
	r := newReport(s, only)
	for _, line := range r.machine {
		fmt.Fprintln(out, line)
	}
	var failed []error
	for _, m := range measures {
		if len(only) > 0 && !slices.Contains(only, m.name) || ctx.Err() != nil {
			continue
		}
		o := outcome{name: m.name}
		o.rows, o.err = b.measure(ctx, m)
		if o.err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", m.name, o.err))
		}
		o.text(out)
		r.outcomes = append(r.outcomes, o)
	}
	if ctx.Err() != nil {
		return errors.Join(append(failed, ctx.Err())...) // half a result is none
	}
	r.took = time.Since(r.began)
	return errors.Join(append(failed, r.write())...)
}

// measure takes one measurement, which must end some time.
func (b *bench) measure(ctx context.Context, m measure) ([]row, error) {
	ctx, cancel := context.WithTimeout(ctx, longest+b.duration+4*b.settle)
	defer cancel()
	return m.do(b, ctx)
}
