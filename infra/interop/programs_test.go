//go:build interop

package interop

import (
	"bytes"
	"os/exec"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"
)

// need fails unless the program is there, saying how to get it.
func need(t *testing.T, program, install string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatalf("%s is not installed: %s", program, install)
	}
	return path
}

// needModule is need for a module of Python.
func needModule(t *testing.T, python, module, install string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), python, "-c", "import "+module).CombinedOutput(); err != nil {
		t.Fatalf("Python's module %s is not installed: %s\n%s", module, install, out)
	}
}

// A serverLog keeps what a server says, and looks for where it listens.
type serverLog struct {
	url   chan string // the first that matches
	at    *regexp.Regexp
	mu    sync.Mutex
	text  bytes.Buffer
	found bool
}

func (l *serverLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	// A line that has not ended may go on.
	whole := l.text.Bytes()[:bytes.LastIndexByte(l.text.Bytes(), '\n')+1]
	if m := l.at.FindSubmatch(whole); m != nil && !l.found {
		l.found = true
		l.url <- string(m[1])
	}
	return len(p), nil
}

func (l *serverLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// startServer runs a server until the test ends. The server finds a port by
// itself and says where it listens, which at matches: a port that were chosen
// for it could be somebody else's by the time it asks for it.
func startServer(t *testing.T, at *regexp.Regexp, program string, args ...string) (url string) {
	t.Helper()
	log := &serverLog{url: make(chan string, 1), at: at}
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var how error // valid once ended is closed
	ended := make(chan struct{})
	go func() {
		how = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // gone already is fine
		<-ended
	})
	select {
	case url = <-log.url:
		return url
	case <-ended:
		t.Fatalf("%s ended: %v\n%s", program, how, log)
	case <-time.After(2 * time.Minute):
		t.Fatalf("%s does not say where it listens\n%s", program, log)
	}
	return ""
}
