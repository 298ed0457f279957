// Package lambdaemu runs compiled Lambda functions without Amazon or Docker: it
// serves the Runtime API
// (https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html) to bootstrap
// processes that it starts on demand, keeps warm, gives one invocation at a time
// and replaces when they time out or end. Unlike Lambda it does not freeze a
// process between invocations, nor limit its memory.
package lambdaemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// ErrUnknownFunction says that no function of that name is configured.
var ErrUnknownFunction = errors.New("unknown function")

// FunctionError is an invocation that gave no response, as Lambda reports it.
type FunctionError struct {
	// Type is the function's own, or Runtime.ExitError (the process ended),
	// Sandbox.Timedout, Runtime.InitError (it never asked for an event).
	Type    string
	Message string
}

func (e *FunctionError) Error() string { return e.Type + ": " + e.Message }

// Function is one deployed function.
type Function struct {
	Name string
	// Binary is the compiled bootstrap.
	Binary string
	// Env is its configuration, "NAME=value"; nothing else is inherited. It must
	// not hold SESSION_ENCRYPTION_SECRET, which no function may see.
	Env []string
	// Timeout bounds one invocation. Default: the host's.
	Timeout time.Duration
}

// Options configures a Host.
type Options struct {
	Functions []Function
	// Timeout bounds one invocation of a function that doesn't say. Default 30 s, an HTTP API's limit.
	Timeout time.Duration
	// InitTimeout bounds the time from a process's start to its first question
	// for an event. Default 10 s, as Lambda's.
	InitTimeout time.Duration
	// MaxInstances bounds the processes of one function. Default 10; further
	// invocations wait for one to be free.
	MaxInstances int
	// Out gets the functions' logs. Default: nowhere.
	Out io.Writer
}

// Host runs functions. It is safe for concurrent use.
type Host struct {
	options Options
	pools   map[string]*pool
	base    context.Context //nolint:containedctx // ends what Close must end
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// New makes a Host. No process is started before the first invocation.
func New(o Options) (*Host, error) {
	o.Timeout = orDefault(o.Timeout, 30*time.Second)
	o.InitTimeout = orDefault(o.InitTimeout, 10*time.Second)
	if o.MaxInstances == 0 {
		o.MaxInstances = 10
	}
	if o.Out == nil {
		o.Out = io.Discard
	}
	o.Out = &lockedWriter{w: o.Out}
	h := &Host{options: o, pools: map[string]*pool{}}
	for _, f := range o.Functions {
		for _, v := range f.Env {
			if strings.HasPrefix(v, "SESSION_ENCRYPTION_SECRET") {
				return nil, fmt.Errorf("configure function %s: it must not get SESSION_ENCRYPTION_SECRET", f.Name)
			}
		}
		f.Timeout = orDefault(f.Timeout, o.Timeout)
		h.pools[f.Name] = &pool{function: f, slots: make(chan struct{}, o.MaxInstances)}
	}
	h.base, h.cancel = context.WithCancel(context.Background())
	return h, nil
}

func orDefault(d, standard time.Duration) time.Duration {
	if d == 0 {
		return standard
	}
	return d
}

// Result is one successful invocation.
type Result struct {
	Payload []byte
	// Init is the time from the process's start to its first question for an
	// event; zero when a warm process took the invocation.
	Init time.Duration
	// Duration is the time from handing the event over to the response.
	Duration time.Duration
}

// Invoke runs a function once with the given event, a JSON document. Errors are
// a *FunctionError, ErrUnknownFunction, ctx's, or that of starting the process.
// As with Lambda, an invocation whose caller gave up runs on to its end.
func (h *Host) Invoke(ctx context.Context, function string, event []byte) (Result, error) {
	p := h.pools[function]
	if p == nil {
		return Result{}, fmt.Errorf("%w: %s", ErrUnknownFunction, function)
	}
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return Result{}, ctx.Err()
	case <-h.base.Done():
		return Result{}, errClosed
	}
	type outcome struct {
		result Result
		err    error
	}
	done := make(chan outcome, 1)
	h.running.Go(func() {
		defer func() { <-p.slots }()
		in, cold, err := p.acquire(h)
		if err != nil {
			done <- outcome{err: err}
			return
		}
		result, err := in.invoke(h, event, cold)
		// Before the answer, so that a caller's next invocation finds it warm.
		p.giveBack(h, in)
		done <- outcome{result, err}
	})
	select {
	case o := <-done:
		return o.result, o.err
	case <-ctx.Done():
		return Result{}, ctx.Err()
	}
}

var errClosed = errors.New("the functions' host is closed")

// Close kills all processes and waits for them.
func (h *Host) Close() {
	h.cancel()
	h.running.Wait()
	for _, p := range h.pools {
		p.closeIdle()
	}
}

// pool is the processes of one function.
type pool struct {
	function Function
	slots    chan struct{}
	mu       sync.Mutex
	idle     []*instance // the last used comes last
}

// acquire takes the last used process that still lives, or starts one.
func (p *pool) acquire(h *Host) (in *instance, cold bool, err error) {
	p.mu.Lock()
	for len(p.idle) > 0 && in == nil {
		last := len(p.idle) - 1
		in, p.idle = p.idle[last], p.idle[:last]
		if in.ended() {
			in.close()
			in = nil
		}
	}
	p.mu.Unlock()
	if in != nil {
		return in, false, nil
	}
	in, err = startInstance(h, p.function)
	return in, true, err
}

// giveBack keeps the process for the next invocation once it asks for one.
func (p *pool) giveBack(h *Host, in *instance) {
	select {
	case <-in.asked:
		in.asked <- struct{}{}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.idle = append(p.idle, in)
		return
	case <-in.proc.Done():
	case <-h.base.Done():
	case <-time.After(p.function.Timeout):
	}
	in.close()
}

func (p *pool) closeIdle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, in := range p.idle {
		in.close()
	}
	p.idle = nil
}

// lockedWriter lets several processes write to one place.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}
