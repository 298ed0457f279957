package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cloudsession/infra/local/leaktest"
	"cloudsession/infra/local/stack"
)

// TestMain makes this test binary the program itself when RUN_AS_PROGRAM is set.
func TestMain(m *testing.M) {
	if os.Getenv("RUN_AS_PROGRAM") == "" {
		leaktest.Main(m)
		return
	}
	main()
}

// folder is where a demo may put its own, with a path short enough for a socket. What
// a test that failed has left there, the processes' log above all, stays.
func folder(t *testing.T) string {
	t.Helper()
	if err := stack.Build(t.Context(), t.Output()); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/tmp", "demo") //nolint:usetesting // t.TempDir's path is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			return
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// program runs the demo as a process, and returns what it printed and its exit code.
func program(t *testing.T, tmp string) (string, int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = []string{"RUN_AS_PROGRAM=1", "TMPDIR=" + tmp, "HOME=" + os.Getenv("HOME"), "PATH=" + os.Getenv("PATH")}
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(out), exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(out), 0
}

const allHeld = "Every step held"

// TestDemo is `make demo`: every step holds, and nothing is left but the log.
func TestDemo(t *testing.T) {
	dir := folder(t)
	out, code := program(t, dir)
	steps := len(new(demo).story(io.Discard))
	if held := strings.Count(out, "✓"); code != 0 || held != steps || !strings.Contains(out, allHeld) {
		t.Fatalf("exit code %d, %d of %d steps held\n%s", code, held, steps, out)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != logName {
		t.Errorf("it left %v, %v", left, err)
	}
}

// TestDemoFails: a step that fails, here since no connector can have a socket, is
// named, and makes the exit code 1.
func TestDemoFails(t *testing.T) {
	deep := filepath.Join(folder(t), strings.Repeat("deep", 20))
	if err := os.Mkdir(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	out, code := program(t, deep)
	if code != 1 || strings.Count(out, "✗") != 1 || strings.Contains(out, allHeld) {
		t.Errorf("exit code %d\n%s", code, out)
	}
}

// TestTell: nothing is told after a step that failed, and its error is the story's.
func TestTell(t *testing.T) {
	broken := errors.New("broken")
	var told []string
	scene := func(what string, err error) step {
		return step{what, func(context.Context) (string, error) {
			told = append(told, what)
			return "", err
		}}
	}
	var out bytes.Buffer
	d := &demo{out: &out}
	err := d.tell(t.Context(), []step{scene("one", nil), scene("two", broken), scene("three", nil)})
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "two") || strings.Join(told, " ") != "one two" {
		t.Errorf("told %q, %v", told, err)
	}
	if said := out.String(); !strings.Contains(said, "✓ one") || !strings.Contains(said, "✗ two") {
		t.Errorf("said:\n%s", said)
	}
}
