package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// row is one line of the result.
type row struct {
	what, measured, target, how string
	met                         bool // nothing if there is no target
}

// outcome is what became of one measurement.
type outcome struct {
	name string
	rows []row
	err  error
}

// report is the result of a run.
type report struct {
	settings settings
	only     []string
	machine  []string // what it ran on, a line each
	began    time.Time
	took     time.Duration
	outcomes []outcome
}

func newReport(s settings, only []string) *report {
	r := &report{settings: s, only: only, began: time.Now()}
	r.machine = []string{
		fmt.Sprintf("%d cores, %s, %s of memory", runtime.NumCPU(), cpuModel(), memoryTotal()),
		fmt.Sprintf("%s/%s, %s, %s", runtime.GOOS, runtime.GOARCH, kernel(), runtime.Version()),
	}
	return r
}

// verdict is whether the target was met, where there is one.
func (r row) verdict() string {
	switch {
	case r.target == "":
		return "–"
	case r.met:
		return "yes"
	}
	return "no"
}

// text writes one measurement for a terminal.
func (o outcome) text(w io.Writer) {
	for _, r := range o.rows {
		fmt.Fprintf(w, "\n%s\n  measured  %s\n  target    %s\n  met       %s\n  how       %s\n", r.what, r.measured, r.target, r.verdict(), r.how)
	}
	if o.err != nil {
		fmt.Fprintf(w, "\n%s\n  not measured: %v\n", o.name, o.err)
	}
}

// markdown writes everything in the tables that BENCHMARKS.md puts together.
func (r *report) markdown(w io.Writer) error {
	var b strings.Builder
	b.WriteString("# Benchmarks\n\nThe targets of `DESIGN.md`, section 14, measured side by side in one run.\n")
	b.WriteString("`make bench` wrote this file: run it again instead of editing it.\n\n")
	fmt.Fprintf(&b, "| | |\n|---|---|\n| command | `%s` |\n| machine | %s |\n", r.settings.command(r.only), cell(strings.Join(r.machine, "; ")))
	fmt.Fprintf(&b, "| commit | %s |\n| date | %s, %s in all |\n\n", revision, r.began.UTC().Format(time.DateOnly), r.took.Round(time.Second))
	b.WriteString("One of them alone: `make bench ONLY=<name>`.\n\n")
	b.WriteString("| name | what | target | measured | met | how |\n|---|---|---|---|---|---|\n")
	for _, o := range r.outcomes {
		for _, row := range o.rows {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", o.name, cell(row.what), cell(row.target), cell(row.measured), row.verdict(), cell(row.how))
		}
		if o.err != nil {
			first, _, _ := strings.Cut(o.err.Error(), "\n")
			fmt.Fprintf(&b, "| %s | – | – | not measured: %s | no | – |\n", o.name, cell(first))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// write makes the markdown file, if one is wanted.
func (r *report) write() (err error) {
	if r.settings.markdown == "" {
		return nil
	}
	// Never over another result, which took an hour.
	f, err := os.OpenFile(r.settings.markdown, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // whoever runs this names the file, and all may read it
	if err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := r.markdown(f); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

// cell makes a text fit for a cell of a table.
func cell(text string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", `\|`)
}

func joined(names []string) string { return strings.Join(names, " ") }

// revision is the commit that was measured; the Makefile sets it.
var revision = "unknown"

func kernel() string {
	out, err := exec.Command("uname", "-sr").Output() //nolint:noctx // ends by itself
	if err != nil {
		return "unknown kernel"
	}
	return strings.TrimSpace(string(out))
}

func cpuModel() string { return procField("/proc/cpuinfo", "model name", "unknown processor") }

func memoryTotal() string { return procField("/proc/meminfo", "MemTotal", "unknown size") }

// procField finds "name: value" in a file of /proc.
func procField(path, field, otherwise string) string {
	info, err := os.ReadFile(path)
	if err != nil {
		return otherwise
	}
	for line := range strings.Lines(string(info)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == field {
			return strings.TrimSpace(value)
		}
	}
	return otherwise
}
