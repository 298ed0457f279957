package stack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"cloudsession/connector/control"
	"cloudsession/infra/local/childproc"
)

// ConnectorOptions describes one connector process.
type ConnectorOptions struct {
	// ID is CONNECTOR_ID. Required.
	ID string
	// DataDir is DATA_DIR. Default: a folder of the connector's own in the stack's.
	DataDir string
	// Env are more variables, "NAME=value"; they win over the stack's own. An
	// empty value removes the variable.
	Env []string
	// Out gets the connector's log besides the stack's Out.
	Out io.Writer
	// Binary is another build of the connector program. Default: the stack's.
	Binary string
	// ReadyTimeout bounds the wait for the local socket. Default 3 min.
	ReadyTimeout time.Duration
}

// Connector is one connector process.
type Connector struct {
	options ConnectorOptions
	binary  string
	env     environment
	proc    *childproc.Proc
	log     *childproc.Log
}

// StartConnector starts `connector run` and waits until its local socket
// answers. An error holds what the connector said.
func (s *Stack) StartConnector(ctx context.Context, o ConnectorOptions) (*Connector, error) {
	c, err := s.LaunchConnector(o)
	if err != nil {
		return nil, err
	}
	if err := c.WaitReady(ctx); err != nil {
		c.proc.Kill()
		return nil, err
	}
	return c, nil
}

// LaunchConnector starts `connector run` without waiting for anything.
func (s *Stack) LaunchConnector(o ConnectorOptions) (*Connector, error) {
	o.DataDir = cmp.Or(o.DataDir, filepath.Join(s.options.Dir, o.ID))
	o.ReadyTimeout = cmp.Or(o.ReadyTimeout, 3*time.Minute)
	c := &Connector{
		options: o, binary: cmp.Or(o.Binary, s.ConnectorBinary()),
		env: s.connectorEnv(o), log: childproc.NewLog(tee{s.out, o.Out}),
	}
	if err := built(c.binary); err != nil {
		return nil, err
	}
	if len(c.Socket()) > maxSocketPath {
		return nil, fmt.Errorf("start connector %s: the path of its socket is longer than %d bytes: %s", o.ID, maxSocketPath, c.Socket())
	}
	var err error
	c.proc, err = childproc.Start(childproc.Config{Path: c.binary, Args: []string{"run"}, Dir: s.root, Env: c.Env(), Out: c.log})
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.connectors = append(s.connectors, c)
	s.mu.Unlock()
	return c, nil
}

// maxSocketPath is what sockaddr_un holds on Linux (108) and macOS (104), less the final zero.
const maxSocketPath = 103

func (s *Stack) connectorEnv(o ConnectorOptions) environment {
	passed := s.pass(
		"SESSION_ENCRYPTION_SECRET_PREVIOUS", "QUEUE_PREFIX", "CAPACITY", "DEVICE_NAME", "PROTECT_SECONDS", "STOP_SECONDS",
		"WEBHOOK_URL", "WEBHOOK_SECRET", "WEBHOOK_SECRET_PREVIOUS", "WEBHOOK_ALLOW_HTTP",
		"WHATSAPP_TEST_SERVICE", "WHATSAPP_TEST_ROOT", "HTTPS_PROXY", "NO_PROXY", "HOME", "PATH", "METRICS_ADDR",
	)
	if s.queue == nil { // real keys are for somebody's queue, as in startQueue
		passed = passed.merge(s.pass("AWS_SHARED_CREDENTIALS_FILE"))
	}
	passed["METRICS_ADDR"] = cmp.Or(passed["METRICS_ADDR"], "127.0.0.1:0") // many connectors run side by side
	own := environment{sessionSecret: s.secrets[sessionSecret], "CONNECTOR_ID": o.ID, "DATA_DIR": o.DataDir}
	if s.Issuer() == "" {
		own[jwtSecret] = s.secrets[jwtSecret] // for `connector token`
	}
	given := environment{}
	for _, v := range o.Env {
		name, value, _ := strings.Cut(v, "=")
		given[name] = value
	}
	return s.shared.merge(passed, own, given)
}

// errExit0 stands for an end that should not have been, but without an error.
var errExit0 = errors.New("exit status 0")

// WaitReady waits until the local socket answers; an error when the process
// ends first or ReadyTimeout passes, with what it said.
func (c *Connector) WaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.options.ReadyTimeout)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	client := control.NewClient(c.options.DataDir)
	for {
		err := client.Health(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-c.proc.Done():
			return fmt.Errorf("start connector %s: it ended: %w\n%s", c.options.ID, cmp.Or(c.proc.Err(), errExit0), c.Logs())
		case <-ctx.Done():
			return fmt.Errorf("start connector %s: its socket does not answer: %w\n%s", c.options.ID, err, c.Logs())
		}
	}
}

// Command prepares another subcommand with this connector's environment, such
// as "send"; the caller sets input and output and runs it.
func (c *Connector) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.binary, args...) //nolint:gosec // our own program
	cmd.Env = c.Env()
	return cmd
}

// Control is a client of the local socket.
func (c *Connector) Control() *control.Client { return control.NewClient(c.options.DataDir) }

// ID is the connector's CONNECTOR_ID.
func (c *Connector) ID() string { return c.options.ID }

// DataDir is the connector's DATA_DIR.
func (c *Connector) DataDir() string { return c.options.DataDir }

// Socket is the path of its local socket.
func (c *Connector) Socket() string { return filepath.Join(c.options.DataDir, control.SocketName) }

// Env is the process's whole environment, for running other subcommands beside it.
func (c *Connector) Env() []string { return c.env.list() }

// Pid is its process id.
func (c *Connector) Pid() int { return c.proc.Pid() }

// Logs is what the process has written so far (the last megabytes of it).
func (c *Connector) Logs() string { return c.log.String() }

// MetricsURL is where it serves /metrics, /healthz and /readyz, as it said in its
// log; an error while it hasn't, or if they are turned off.
func (c *Connector) MetricsURL() (string, error) {
	said := metricsLine.FindStringSubmatch(c.Logs())
	if said == nil {
		return "", fmt.Errorf("connector %s has not said where its metrics are", c.options.ID)
	}
	return "http://" + said[1], nil
}

var metricsLine = regexp.MustCompile(`msg="metrics are served" addr=(\S+)`)

// Done is closed when the process has ended.
func (c *Connector) Done() <-chan struct{} { return c.proc.Done() }

// Stop sends SIGTERM and waits for the end; it kills after timeout and says so.
func (c *Connector) Stop(timeout time.Duration) error {
	if err := c.proc.Stop(timeout); err != nil {
		return fmt.Errorf("stop connector %s: %w", c.options.ID, err)
	}
	return nil
}

// Kill9 kills the process without warning and waits until it is gone.
func (c *Connector) Kill9() error {
	if err := c.proc.Signal(syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill connector %s: %w", c.options.ID, err)
	}
	<-c.proc.Done()
	return nil
}

// Freeze stops the process (SIGSTOP) and Thaw lets it go on (SIGCONT).
func (c *Connector) Freeze() error { return c.signal(syscall.SIGSTOP) }

// Thaw continues a frozen process.
func (c *Connector) Thaw() error { return c.signal(syscall.SIGCONT) }

func (c *Connector) signal(sig os.Signal) error {
	if err := c.proc.Signal(sig); err != nil {
		return fmt.Errorf("signal connector %s: %w", c.options.ID, err)
	}
	return nil
}

// Wait waits until the process has ended and returns how; or ctx's error.
func (c *Connector) Wait(ctx context.Context) error { return c.proc.Wait(ctx) }

// StopTime is how long a connector may take to end: what it gives itself
// (STOP_SECONDS), and plenty for a busy machine.
const StopTime = 3 * time.Minute

// closeConnectors stops the connectors that still run, all at once.
func (s *Stack) closeConnectors() error {
	s.mu.Lock()
	all := s.connectors
	s.connectors = nil
	s.mu.Unlock()
	errs := make([]error, len(all))
	var stopping sync.WaitGroup
	for i, c := range all {
		select {
		case <-c.Done():
			continue // how it ended was its starter's to judge
		default:
		}
		stopping.Go(func() {
			_ = c.proc.Signal(syscall.SIGCONT) // a frozen process can't stop; a gone one needn't
			errs[i] = c.Stop(StopTime)
		})
	}
	stopping.Wait()
	return errors.Join(errs...)
}

// tee writes to two places, the second of which may be nil.
type tee struct{ first, second io.Writer }

func (t tee) Write(b []byte) (int, error) {
	if t.second != nil {
		if _, err := t.second.Write(b); err != nil {
			return 0, err
		}
	}
	return t.first.Write(b)
}

// ConnectorBinary is the path of the connector program.
func (s *Stack) ConnectorBinary() string { return filepath.Join(s.root, connectorFile()) }
