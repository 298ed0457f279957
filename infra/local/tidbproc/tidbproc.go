// Package tidbproc builds and runs the real TiDB engine as a child process.
package tidbproc

import (
	"context"
	"errors"
	"io"
)

var errTodo = errors.New("not there yet")

// Proc is a running engine.
type Proc struct{ addr string }

// Addr is the host:port it listens on.
func (p *Proc) Addr() string { return p.addr }

// Build makes the engine's binary and returns its path; progress goes to out.
func Build(ctx context.Context, out io.Writer) (binary string, err error) { return "", errTodo }

// Start runs the engine on dir ("" for a temporary one) and waits until it is ready.
func Start(ctx context.Context, dir, addr string) (*Proc, error) { return nil, errTodo }

// Stop ends the engine cleanly.
func (p *Proc) Stop(ctx context.Context) error { return errTodo }
