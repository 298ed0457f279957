package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
)

// ErrNotRunning is returned when no connector listens on the socket.
var ErrNotRunning = errors.New("no connector is running on this data directory: start one with `connector run`")

// ErrNoAnswer is returned, wrapped, when the connection or the caller's time ended
// before the answer: nobody knows what became of the request. A send that has a key can
// be repeated.
var ErrNoAnswer = errors.New("the connection to the connector ended before its answer")

// Client talks to the connector of one data directory.
type Client struct {
	http *http.Client
}

// NewClient returns a client for the socket in dataDir. It connects on use.
func NewClient(dataDir string) *Client {
	path := filepath.Join(dataDir, SocketName)
	return &Client{http: &http.Client{Transport: &http.Transport{
		Proxy:             nil,
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			conn, err := d.DialContext(ctx, "unix", path)
			if err != nil {
				return nil, fmt.Errorf("%w (%w)", ErrNotRunning, err)
			}
			return conn, nil
		},
	}}}
}

// Error is the connector's refusal of a request.
type Error struct {
	Status  int
	Message string
	Outcome string // of a send: OutcomePending, OutcomeUnknown, or none
}

func (e *Error) Error() string { return e.Message }

// Health returns nil when the connector answers.
func (c *Client) Health(ctx context.Context) error {
	return c.call(ctx, http.MethodGet, "/v1/health", nil, nil)
}

// Sessions lists the sessions the connector knows of.
func (c *Client) Sessions(ctx context.Context) ([]Session, error) {
	var out struct {
		Sessions []Session `json:"sessions"`
	}
	err := c.call(ctx, http.MethodGet, "/v1/sessions", nil, &out)
	return out.Sessions, err
}

// Open opens a session, from the local file or from the cloud.
func (c *Client) Open(ctx context.Context, sessionID string) (Session, error) {
	var out Session
	err := c.call(ctx, http.MethodPost, sessionPath(sessionID, "open"), struct{}{}, &out)
	return out, err
}

// Close closes a session and seals its log.
func (c *Client) Close(ctx context.Context, sessionID string) error {
	return c.call(ctx, http.MethodPost, sessionPath(sessionID, "close"), struct{}{}, nil)
}

// Send sends a text and waits for the service's acknowledgement.
func (c *Client) Send(ctx context.Context, sessionID string, r SendRequest) (Sent, error) {
	var out Sent
	err := c.call(ctx, http.MethodPost, sessionPath(sessionID, "send"), r, &out)
	return out, err
}

// Pair pairs a session and calls report for each event until pairing ended.
func (c *Client) Pair(ctx context.Context, sessionID string, r PairRequest, report func(PairEvent) error) error {
	return c.stream(ctx, http.MethodPost, sessionPath(sessionID, "pair"), r, func(line json.RawMessage) error {
		var e PairEvent
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("read pairing event: %w", err)
		}
		return report(e)
	})
}

// Messages calls report for each received message after the given number.
func (c *Client) Messages(ctx context.Context, sessionID string, after int64, follow bool, report func(Message) error) error {
	q := url.Values{"after": {strconv.FormatInt(after, 10)}, "follow": {strconv.FormatBool(follow)}}
	return c.messages(ctx, sessionPath(sessionID, "messages")+"?"+q.Encode(), report)
}

// Lost calls report for each message that only files of ended terms on the connector's machine hold.
func (c *Client) Lost(ctx context.Context, sessionID string, report func(Message) error) error {
	return c.messages(ctx, sessionPath(sessionID, "lost"), report)
}

func (c *Client) messages(ctx context.Context, path string, report func(Message) error) error {
	return c.stream(ctx, http.MethodGet, path, nil, func(line json.RawMessage) error {
		var m struct {
			Message
			errorBody
		}
		if err := json.Unmarshal(line, &m); err != nil {
			return fmt.Errorf("read message: %w", err)
		}
		if m.Error != "" {
			return &Error{Status: http.StatusInternalServerError, Message: m.Error}
		}
		return report(m.Message)
	})
}

func sessionPath(id, what string) string {
	// Dots are escaped too: a session may be called "..", which a path loses.
	return "/v1/sessions/" + strings.ReplaceAll(url.PathEscape(id), ".", "%2E") + "/" + what
}

func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	resp, err := c.do(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // a response that was read needs nothing from its close
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("%w: %w", ErrNoAnswer, err)
	}
	return nil
}

func (c *Client) stream(ctx context.Context, method, path string, in any, each func(json.RawMessage) error) error {
	resp, err := c.do(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // a response that was read needs nothing from its close
	d := json.NewDecoder(resp.Body)
	for {
		var line json.RawMessage
		if err := d.Decode(&line); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read the connector's answer: %w", err)
		}
		if err := each(line); err != nil {
			return err
		}
	}
}

func (c *Client) do(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var body io.Reader = http.NoBody
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("encode request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	return c.send(ctx, method, path, body)
}

// send makes a request and turns what isn't 200 into an error.
func (c *Client) send(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://connector"+path, body)
	if err != nil {
		return nil, fmt.Errorf("build request: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		// url.Error would repeat the made-up URL; its cause says what matters.
		if ue := (*url.Error)(nil); errors.As(err, &ue) {
			err = ue.Err
		}
		if errors.Is(err, ErrNotRunning) {
			return nil, err
		}
		return nil, fmt.Errorf("%w: %w", ErrNoAnswer, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close() //nolint:errcheck // a response that was read needs nothing from its close
	var e errorBody
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&e); err != nil || e.Error == "" {
		e.Error = "the connector answered " + resp.Status
	}
	return nil, &Error{Status: resp.StatusCode, Message: e.Error, Outcome: e.Outcome}
}
