// Package childproc runs child processes that never outlive this one: each in a
// process group of its own, so that a terminal's Ctrl-C reaches only this
// process, which then stops them in order; and killed by the kernel (Linux) or a
// watching shell (elsewhere) if this process dies without doing so.
package childproc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Config describes a child.
type Config struct {
	Path string
	Args []string
	Dir  string
	// Env is the whole environment; nothing is inherited.
	Env []string
	// Out gets standard output and error, written by one goroutine at a time.
	Out io.Writer
}

// Proc is a started child.
type Proc struct {
	cmd     *exec.Cmd
	release func()
	done    chan struct{}
	err     error // set before done is closed
}

// outputTime is how long a child's output may go on after its end, should a
// grandchild keep it open. A busy machine takes long to read what is left.
const outputTime = time.Minute

// Start starts a child.
func Start(c Config) (*Proc, error) {
	//nolint:gosec,noctx // the callers' own programs, stopped in order and not by a context
	cmd := exec.Command(c.Path, c.Args...)
	cmd.Dir, cmd.Env = c.Dir, c.Env
	if cmd.Env == nil {
		cmd.Env = []string{} // nil would mean all of ours
	}
	cmd.Stdout, cmd.Stderr = c.Out, c.Out
	cmd.WaitDelay = outputTime
	release, err := startTied(cmd)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Path, err)
	}
	p := &Proc{cmd: cmd, release: release, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		p.release()
		close(p.done)
	}()
	return p, nil
}

// Pid is the process id.
func (p *Proc) Pid() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended and its output is through.
func (p *Proc) Done() <-chan struct{} { return p.done }

// Err is how the process ended, nil for exit status 0. It is valid after Done.
func (p *Proc) Err() error {
	select {
	case <-p.done:
		return p.err
	default:
		return nil
	}
}

// Wait waits for the end and returns how it was; or ctx's error.
func (p *Proc) Wait(ctx context.Context) error {
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Signal sends s to the process. os.ErrProcessDone if it has ended.
func (p *Proc) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Kill kills the process and whatever it started, and waits until it is gone.
func (p *Proc) Kill() {
	select {
	case <-p.done:
		return
	default:
	}
	// The group is the child's until Wait has returned, so this hits nobody else.
	if err := syscall.Kill(-p.Pid(), syscall.SIGKILL); err != nil {
		_ = p.cmd.Process.Kill() // it ended just now
	}
	<-p.done
}

// ErrKilled is returned by Stop when the process did not end by itself.
var ErrKilled = errors.New("did not end in time and was killed")

// Stop sends SIGTERM, waits up to timeout and kills after that (ErrKilled).
// Otherwise it returns how the process ended.
func (p *Proc) Stop(timeout time.Duration) error {
	if err := p.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop process %d: %w", p.Pid(), err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if err := p.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	p.Kill()
	return fmt.Errorf("process %d %w", p.Pid(), ErrKilled)
}

// Log is an io.Writer that keeps what is written, up to a limit, and passes it
// on. It is safe for concurrent use.
type Log struct {
	mu   sync.Mutex
	kept []byte
	next io.Writer
}

// maxLog bounds what a Log keeps; the oldest half goes when it is full.
const maxLog = 8 << 20

// NewLog makes a Log that passes on to next, unless that is nil.
func NewLog(next io.Writer) *Log { return &Log{next: next} }

// Write implements io.Writer. Only passing on can fail.
func (l *Log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.kept)+len(b) > maxLog {
		l.kept = append([]byte(nil), l.kept[len(l.kept)/2:]...)
	}
	l.kept = append(l.kept, b...)
	if l.next == nil {
		return len(b), nil
	}
	return l.next.Write(b)
}

// String is what was written.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.kept)
}
