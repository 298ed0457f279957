package chaos

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"cloudsession/infra/local/stack"
)

func TestChaos(t *testing.T) {
	t.Parallel()
	fresh := rand.Uint64N(1 << 40)
	if v := os.Getenv("CLOUDSESSION_SEED"); v != "" {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		fresh = n
	}
	t.Logf("seeds %d and %d; CLOUDSESSION_SEED repeats the latter", fixedSeed, fresh)
	schedules := []Schedule{Loss(), Generate(fresh, DefaultMachines, DefaultLines), Generate(fixedSeed, DefaultMachines, DefaultLines)}
	report, err := run(t, Options{Schedules: slices.Values(schedules)})
	if err != nil {
		t.Fatal(err)
	}
	if report.Schedules != len(schedules) || report.ToApp == 0 || report.FromApp == 0 {
		t.Errorf("not everything was tried: %+v", report)
	}
}

// fixedSeed has in it what TestFixedSeed says.
const fixedSeed = 17761

// A harness that can't see the fault proves nothing: with safe restore switched
// off, messages are lost without a word and message keys are used twice, and it
// must say so. TestChaos goes through the same schedule with safe restore.
func TestHarnessSeesTheLoss(t *testing.T) {
	t.Parallel()
	report, err := run(t, Options{
		Schedules: slices.Values([]Schedule{Loss()}), Machines: 2, Lines: 2,
		Connector: build(t, "cloudsession_unsafe_restore"), Tolerate: []string{"I3"}, Settle: 3 * time.Minute, Lost: 12 * time.Second,
	})
	var v *Violation
	if !errors.As(err, &v) {
		t.Fatalf("the connector keeps stale state, and the harness saw nothing: %v", err)
	}
	if v.Invariant != "I2" {
		t.Errorf("it saw %s broken, want I2: %v", v.Invariant, err)
	}
	if report.Service.KeysReused == 0 || report.Service.OldCounter == 0 {
		t.Errorf("%d message keys used twice, %d messages dropped for an old counter; want some of both",
			report.Service.KeysReused, report.Service.OldCounter)
	}
	t.Logf("seen: %s: %.300s", v.Invariant, v.Detail)
	t.Logf("%d message keys used twice, %d messages dropped without a word", report.Service.KeysReused, report.Service.OldCounter)
}

// run is Run in a folder that goes with the test if it passes.
func run(t *testing.T, o Options) (*Report, error) {
	t.Helper()
	dir, err := os.MkdirTemp("", "chaos-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("logs: %s", filepath.Join(dir, "logs"))
			return
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	o.Dir, o.Out = dir, t.Output()
	report, err := Run(ctx, o)
	if report != nil {
		var text bytes.Buffer
		if err := report.Text(&text); err != nil {
			t.Error(err)
		}
		t.Logf("\n%s", text.String())
	}
	return report, err
}

// build makes a connector of another kind.
func build(t *testing.T, tag string) string {
	t.Helper()
	root, err := stack.Root()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "connector")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-tags", tag, "-o", program, "./connector")
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the connector with tag %s: %v\n%s", tag, err, out)
	}
	return program
}
