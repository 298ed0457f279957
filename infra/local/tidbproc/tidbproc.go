// Package tidbproc builds and runs the real TiDB engine (infra/tidb) as a child
// process, for the local system and for tests.
package tidbproc

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// readyPrefix starts the one line the engine prints.
const readyPrefix = "tidb: ready on "

// Proc is a running engine. It ends with this process, however that ends: it
// watches its standard input.
type Proc struct {
	addr   string
	cmd    *exec.Cmd
	stdin  io.Closer
	stderr *tail
	done   chan struct{}
	err    error // of Wait; valid after done
}

// Start builds the engine if need be, runs it on the data folder dir ("" for a
// temporary one that goes with it) and waits until it is ready. addr is a
// loopback host:port; port 0 picks a free one. ctx bounds the start only.
func Start(ctx context.Context, dir, addr string) (*Proc, error) {
	binary, err := Build(ctx, os.Stderr)
	if err != nil {
		return nil, err
	}
	return StartBinary(ctx, binary, dir, addr)
}

// StartBinary is Start with an engine that is built, which saves asking `go
// build` whether it is: seconds on a busy machine.
func StartBinary(ctx context.Context, binary, dir, addr string) (*Proc, error) {
	p, ready, err := spawn(binary, dir, addr)
	if err != nil {
		return nil, err
	}
	select {
	case line, ok := <-ready:
		p.addr = strings.TrimPrefix(line, readyPrefix)
		if ok && p.addr != line {
			return p, nil
		}
		// It printed something else or nothing: it ended, or must.
		p.Kill()
		return nil, fmt.Errorf("start the database engine: %w", p.exitError())
	case <-ctx.Done():
		p.Kill()
		return nil, fmt.Errorf("start the database engine: %w", context.Cause(ctx))
	}
}

// spawn runs the binary; the first line of its output arrives on ready, which
// is closed when there is none.
func spawn(binary, dir, addr string) (p *Proc, ready <-chan string, err error) {
	p = &Proc{stderr: &tail{}, done: make(chan struct{})}
	p.cmd = exec.Command(binary, "-exit-with-stdin", "-addr", addr, "-dir", dir) //nolint:gosec,noctx // G204: our own binary; it outlives the context of its start
	p.cmd.Stderr = p.stderr
	// Ctrl-C at a terminal reaches the whole group: the engine must stay for
	// those who have something to write before they go.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, nil, fmt.Errorf("start the database engine: %w", err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, nil, fmt.Errorf("start the database engine: %w", err)
	}
	if err := p.cmd.Start(); err != nil {
		return nil, nil, fmt.Errorf("start the database engine: %w", err)
	}
	lines := make(chan string, 1)
	go func() {
		r := bufio.NewReader(stdout)
		if line, err := r.ReadString('\n'); err == nil {
			lines <- strings.TrimSpace(line)
		}
		close(lines)
		_, _ = io.Copy(io.Discard, r) // a full pipe would block the engine
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, lines, nil
}

// Addr is the host:port the engine listens on.
func (p *Proc) Addr() string { return p.addr }

// Done is closed once the engine has ended, whoever ended it.
func (p *Proc) Done() <-chan struct{} { return p.done }

// Pid is the engine's process id, for measuring it.
func (p *Proc) Pid() int { return p.cmd.Process.Pid }

// Stop ends the engine cleanly and waits for it; when ctx ends first it is
// killed, and its data is replayed from the log at the next start.
func (p *Proc) Stop(ctx context.Context) error {
	_ = p.stdin.Close() // a second close, or a gone engine, is as good
	select {
	case <-p.done:
		if p.err != nil {
			return fmt.Errorf("stop the database engine: %w", p.exitError())
		}
		return nil
	case <-ctx.Done():
		p.Kill()
		return fmt.Errorf("stop the database engine: killed: %w", context.Cause(ctx))
	}
}

// Kill ends the engine at once, as a crash would, and waits for it.
func (p *Proc) Kill() {
	_ = p.cmd.Process.Kill() // already ended is as good
	<-p.done
	_ = p.stdin.Close()
}

// exitError is how an ended engine ended, with what it said last.
func (p *Proc) exitError() error {
	<-p.done
	text := strings.TrimSpace(p.stderr.String())
	switch {
	case p.err == nil:
		return errors.New("it ended before it was ready")
	case text == "":
		return p.err
	}
	return fmt.Errorf("%w: %s", p.err, text)
}

// hostPort splits the address.
func (p *Proc) hostPort() (host string, port int, err error) {
	host, text, err := net.SplitHostPort(p.addr)
	if err != nil {
		return "", 0, fmt.Errorf("parse the engine's address: %w", err)
	}
	if port, err = strconv.Atoi(text); err != nil {
		return "", 0, fmt.Errorf("parse the engine's address: %w", err)
	}
	return host, port, nil
}

// tail keeps the last few KiB written to it.
type tail struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

const tailBytes = 8 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf.Write(b)
	t.buf.Next(max(0, t.buf.Len()-tailBytes))
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.String()
}
