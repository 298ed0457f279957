// Package rig is the whole system against the simulated WhatsApp service: what
// the demo shows and the end-to-end tests check. Everything but WhatsApp is
// real, in processes of its own: TiDB, SQS over HTTP, the Lambda binaries behind
// the gateway, the connector program.
package rig

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"cloudsession/connector/control"
	"cloudsession/connector/watest"
	"cloudsession/infra/local/stack"
)

// Options says where a Rig keeps its data and writes its logs.
type Options struct {
	Dir string    // required
	Out io.Writer // every process's log; nil for nowhere
	// Built says that the programs are built already, as `make demo` does.
	Built bool
	// Transport carries the calls of API; nil for the default one. The tests
	// put a check of every response against openapi.yaml here.
	Transport func(http.RoundTripper) http.RoundTripper
	// Getenv is the environment of stack.Options: other services than the local
	// ones, log levels. Default: none.
	Getenv func(string) string
	// FunctionEnv are more variables of every function, "NAME=value".
	FunctionEnv []string
	// Env are variables of every connector, "NAME=value"; those that it is started
	// with win.
	Env []string
}

// Unhurried are the variables of connectors whose own limits of time are not what
// is tested: a slow machine is no fault of theirs.
var Unhurried = []string{"PROTECT_SECONDS=3600", "STOP_SECONDS=120"}

// StopTime is how long a connector may take to end.
const StopTime = stack.StopTime

// Rig is the running system.
type Rig struct {
	Stack    *stack.Stack
	WhatsApp *watest.Service

	env     []string
	service string // the simulated service's address
	token   string
	http    *http.Client
}

// Start starts everything but connectors.
func Start(ctx context.Context, o Options) (_ *Rig, err error) {
	r := &Rig{WhatsApp: &watest.Service{}, env: o.Env}
	addr, err := r.WhatsApp.Listen("127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start simulated service: %w", err)
	}
	r.service = addr.String()
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	if r.Stack, err = stack.Start(ctx, stack.Options{Dir: o.Dir, Out: o.Out, Built: o.Built, Getenv: o.Getenv, FunctionEnv: o.FunctionEnv}); err != nil {
		return nil, err
	}
	if r.token, err = r.Stack.Token(); err != nil {
		return nil, err
	}
	transport := http.RoundTripper(&http.Transport{Proxy: nil})
	if o.Transport != nil {
		transport = o.Transport(transport)
	}
	r.http = &http.Client{Transport: transport, Timeout: 3 * time.Minute}
	return r, nil
}

// Close stops everything.
func (r *Rig) Close() error {
	var err error
	if r.http != nil {
		r.http.CloseIdleConnections()
	}
	if r.Stack != nil {
		err = r.Stack.Close()
	}
	return errors.Join(err, r.WhatsApp.Close())
}

// Connector is one connector process and a client of its local socket.
type Connector struct {
	*stack.Connector
	*control.Client
	killed bool
}

// Kill9 kills the process without warning and waits until it is gone.
func (c *Connector) Kill9() error {
	c.killed = true
	return c.Connector.Kill9()
}

// Stop ends the process cleanly; one that was killed needs no more.
func (c *Connector) Stop(timeout time.Duration) error {
	if c.killed {
		return nil
	}
	return c.Connector.Stop(timeout)
}

// StartConnector starts a connector that talks to the simulated service. An
// empty dir means a folder of its own.
func (r *Rig) StartConnector(ctx context.Context, id, dir string, env ...string) (*Connector, error) {
	return r.StartConnectorTo(ctx, nil, id, dir, env...)
}

// StartConnectorTo is StartConnector with the process's log also going to out.
func (r *Rig) StartConnectorTo(ctx context.Context, out io.Writer, id, dir string, env ...string) (*Connector, error) {
	c, err := r.Stack.StartConnector(ctx, stack.ConnectorOptions{
		ID: id, DataDir: dir, Out: out, Env: slices.Concat(r.WhatsAppEnv(r.service), r.env, env),
	})
	if err != nil {
		return nil, err
	}
	return &Connector{Connector: c, Client: control.NewClient(c.DataDir())}, nil
}

// ServiceAddr is the simulated service's address.
func (r *Rig) ServiceAddr() string { return r.service }

// WhatsAppEnv are the variables that lead a connector to the simulated service
// at addr: the service itself, or what stands before it.
func (r *Rig) WhatsAppEnv(addr string) []string {
	root := r.WhatsApp.RootKey()
	return []string{"WHATSAPP_TEST_SERVICE=" + addr, "WHATSAPP_TEST_ROOT=" + hex.EncodeToString(root[:])}
}

// LimitFiles bounds how large the process's files may grow, in bytes: with 0
// every write fails as on a full disk (RLIMIT_FSIZE, setrlimit(2)).
func (c *Connector) LimitFiles(size uint64) error {
	// The hard limit stays, so that a later call can raise it again.
	limit := unix.Rlimit{Cur: size, Max: unix.RLIM_INFINITY}
	if err := unix.Prlimit(c.Pid(), unix.RLIMIT_FSIZE, &limit, nil); err != nil {
		return fmt.Errorf("limit files of connector %s: %w", c.ID(), err)
	}
	return nil
}

// Pair links a session by having phone scan the QR codes the connector shows.
func (c *Connector) Pair(ctx context.Context, session string, phone *watest.Phone) error {
	var last control.PairEvent
	err := c.Client.Pair(ctx, session, control.PairRequest{}, func(e control.PairEvent) error {
		last = e
		if e.Kind != "qr" {
			return nil
		}
		_, err := phone.ScanQR(ctx, e.QR)
		return err
	})
	switch {
	case err != nil:
		return fmt.Errorf("pair: %w", err)
	case last.Kind != "paired":
		return fmt.Errorf("pair: ended with %q: %s", last.Kind, last.Error)
	}
	return nil
}

// WaitText waits until the session's inbox shows a text, and returns the message.
func (c *Connector) WaitText(ctx context.Context, session, text string) (control.Message, error) {
	found := errors.New("found")
	var got control.Message
	err := c.Messages(ctx, session, 0, true, func(m control.Message) error {
		if m.Text == text {
			got = m
			return found
		}
		return nil
	})
	if errors.Is(err, found) {
		return got, nil
	}
	return got, fmt.Errorf("wait for a message: %w", errors.Join(err, context.Cause(ctx)))
}

// WaitState waits until the session is in one of the states.
func (c *Connector) WaitState(ctx context.Context, session string, states ...string) error {
	var last string
	for {
		list, err := c.Sessions(ctx)
		if err != nil {
			return err
		}
		for _, s := range list {
			if s.SessionID != session {
				continue
			}
			last = s.State + " " + s.Detail
			if slices.Contains(states, s.State) {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("session %s: state is %q, want %q", session, last, states)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Response is an answer of the API.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// API calls the HTTP API with a token of all scopes. body is nil or is sent as JSON.
func (r *Rig) API(ctx context.Context, method, path string, body any) (Response, error) {
	return r.APIAs(ctx, r.token, method, path, body)
}

// APIAs calls the HTTP API with the given token; an empty one sends none.
func (r *Rig) APIAs(ctx context.Context, token, method, path string, body any) (Response, error) {
	var content io.Reader = http.NoBody
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return Response{}, fmt.Errorf("encode body: %w", err)
		}
		content = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, r.Stack.APIURL()+path, content)
	if err != nil {
		return Response{}, fmt.Errorf("build request: %w", err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := r.http.Do(req)
	if err != nil {
		return Response{}, fmt.Errorf("call the API: %w", err)
	}
	b, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return Response{}, fmt.Errorf("read the API's answer: %w", err)
	}
	return Response{Status: resp.StatusCode, Header: resp.Header, Body: b}, nil
}

// Want calls the API and fails unless the status is as given.
func (r *Rig) Want(ctx context.Context, status int, method, path string, body any) (Response, error) {
	resp, err := r.API(ctx, method, path, body)
	if err == nil && resp.Status != status {
		err = fmt.Errorf("%s %s: got %d %s, want %d", method, path, resp.Status, resp.Body, status)
	}
	return resp, err
}
