package childproc

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// child starts this binary in a role and returns it with its output.
func child(t *testing.T, role string) (*Proc, *Log, *bufio.Reader) {
	t.Helper()
	r, w := io.Pipe()
	log := NewLog(w)
	p, err := Start(Config{Path: os.Args[0], Env: []string{"CHILDPROC_ROLE=" + role}, Out: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = r.Close()
		p.Kill()
	})
	return p, log, bufio.NewReader(r)
}

func line(t *testing.T, r *bufio.Reader, want string) {
	t.Helper()
	if got, err := r.ReadString('\n'); err != nil || got != want+"\n" {
		t.Fatalf("the child said %q, %v, want %q", got, err, want)
	}
}

func TestStop(t *testing.T) {
	p, log, out := child(t, "wait")
	line(t, out, "ready")
	go func() { _, _ = io.Copy(io.Discard, out) }()
	if err := p.Stop(time.Minute); err != nil {
		t.Errorf("stop: %v", err)
	}
	if got := log.String(); got != "ready\nbye\n" {
		t.Errorf("kept %q", got)
	}
	if err := p.Stop(time.Minute); err != nil {
		t.Errorf("stop again: %v", err)
	}
}

func TestStopKillsTheStubborn(t *testing.T) {
	p, _, out := child(t, "stubborn")
	line(t, out, "ready")
	if err := p.Stop(10 * time.Millisecond); !errors.Is(err, ErrKilled) {
		t.Errorf("stop: %v, want ErrKilled", err)
	}
}

func TestExitStatusAndEnvironment(t *testing.T) {
	t.Setenv("SESSION_ENCRYPTION_SECRET", "must not be inherited")
	p, _, out := child(t, "fail")
	line(t, out, "environment: [CHILDPROC_ROLE=fail]")
	err := p.Wait(t.Context())
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 3 {
		t.Errorf("ended with %v, want status 3", err)
	}
}

func TestFreezeAndThaw(t *testing.T) {
	p, _, out := child(t, "wait")
	line(t, out, "ready")
	for _, s := range []os.Signal{syscall.SIGSTOP, syscall.SIGTERM} {
		if err := p.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := p.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a frozen process ended: %v", err)
	}
	if err := p.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	line(t, out, "bye")
}

// TestChildDiesWithItsParent: kill -9 of the parent takes the child along, by
// the kernel and by the watcher.
func TestChildDiesWithItsParent(t *testing.T) {
	for _, role := range []string{"parent", "watched parent"} {
		p, _, out := child(t, role)
		said, err := out.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(said))
		if err != nil {
			t.Fatalf("%s said %q", role, said)
		}
		// Only the parent itself: Kill would take the child's siblings, not the child.
		if err := p.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		<-p.Done()
		waitGone(t, role, pid)
	}
}

func waitGone(t *testing.T, role string, pid int) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for {
		if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) || zombie(pid) {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the child of a dead %s lives on", role)
		case <-tick.C:
		}
	}
}

// zombie reports whether a process has ended and only waits to be reaped, which
// is whoever inherited it's business.
func zombie(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && strings.Contains(string(stat), ") Z ")
}

func TestStartFails(t *testing.T) {
	if _, err := Start(Config{Path: "/does/not/exist"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("start: %v, want ErrNotExist", err)
	}
}
