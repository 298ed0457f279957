package stack

import (
	"context"
	"errors"
	"io"
	"time"
)

// ConnectorOptions describes one connector process.
type ConnectorOptions struct {
	// ID is CONNECTOR_ID. Required.
	ID string
	// DataDir is DATA_DIR. Default: a folder of the connector's own in the stack's.
	DataDir string
	// Env are more variables, "NAME=value"; they win over the stack's own.
	Env []string
	// Out gets the connector's log besides the stack's Out.
	Out io.Writer
	// ReadyTimeout bounds the wait for the local socket. Default 30 s.
	ReadyTimeout time.Duration
}

// Connector is one running connector process.
type Connector struct{}

// StartConnector starts `connector run` and waits until its local socket answers.
func (s *Stack) StartConnector(ctx context.Context, o ConnectorOptions) (*Connector, error) {
	return nil, errors.New("not written")
}

// ID is the connector's CONNECTOR_ID.
func (c *Connector) ID() string { return "" }

// DataDir is the connector's DATA_DIR.
func (c *Connector) DataDir() string { return "" }

// Socket is the path of its local socket.
func (c *Connector) Socket() string { return "" }

// Env is the process's whole environment, for running other subcommands beside it.
func (c *Connector) Env() []string { return nil }

// Logs is everything the process has written so far.
func (c *Connector) Logs() string { return "" }

// Stop sends SIGTERM and waits for the end; it kills after timeout and says so.
func (c *Connector) Stop(timeout time.Duration) error { return nil }

// Kill9 kills the process without warning and waits until it is gone.
func (c *Connector) Kill9() error { return nil }

// Freeze stops the process (SIGSTOP) and Thaw lets it go on (SIGCONT).
func (c *Connector) Freeze() error { return nil }

// Thaw continues a frozen process.
func (c *Connector) Thaw() error { return nil }

// Wait waits until the process has ended and returns how.
func (c *Connector) Wait(ctx context.Context) error { return nil }
