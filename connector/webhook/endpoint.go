package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"cloudsession/connector/inbox"
)

const (
	answerTime = 10 * time.Second // for one attempt
	drainTime  = time.Second      // for the rest of an answer whose status is known
	maxAnswer  = 64 << 10         // of an answer's body; nobody reads it, but a connection is only used again after it
)

// ErrURL is returned by ParseURL.
var ErrURL = errors.New("webhook URL can't be used")

// ParseURL checks the URL to deliver to: https, or http on this machine, or anywhere when plain is set. The error
// never holds the URL, which may carry a token.
func ParseURL(raw string, plain bool) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: it is malformed", ErrURL)
	case u.Host == "" || u.Hostname() == "":
		return nil, fmt.Errorf("%w: it has no host", ErrURL)
	case u.User != nil:
		return nil, fmt.Errorf("%w: it holds a user name; receivers are to check the signature", ErrURL)
	case u.Fragment != "":
		return nil, fmt.Errorf("%w: it has a fragment", ErrURL)
	case u.Scheme == "https", u.Scheme == "http" && (plain || isLoopback(u.Hostname())):
		return u, nil
	case u.Scheme == "http":
		return nil, fmt.Errorf("%w: messages would cross the network unencrypted: use https", ErrURL)
	default:
		return nil, fmt.Errorf("%w: use https", ErrURL)
	}
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// endpoint is where messages are delivered.
type endpoint struct {
	url     string
	secrets []Secret // the current one first
	agent   string
	client  *http.Client
	limit   time.Duration // of one attempt
}

func newEndpoint(o Options) *endpoint {
	transport := o.Transport
	if transport == nil {
		transport = &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: answerTime}).DialContext,
			TLSHandshakeTimeout:    answerTime,
			ForceAttemptHTTP2:      true,
			MaxIdleConnsPerHost:    perProcess,
			IdleConnTimeout:        90 * time.Second,
			MaxResponseHeaderBytes: maxAnswer,
			DisableCompression:     true,
		}
	}
	return &endpoint{
		url: o.URL.String(), secrets: o.Secrets, agent: "cloudsession-connector/" + o.Version, limit: answerTime,
		client: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// refusal is an answer other than 2xx.
type refusal struct {
	status int
	after  time.Duration // what Retry-After asks for, 0 without one
}

func (r *refusal) Error() string {
	return strings.TrimSpace(fmt.Sprintf("the receiver answered %d %s", r.status, http.StatusText(r.status)))
}

// post makes one attempt. It returns nil if the receiver has taken the message, a *refusal for any other answer, and
// an error without URL and content if there was none.
func (e *endpoint) post(ctx context.Context, sessionID string, m inbox.Message, attempt int) error {
	key, body, err := encode(sessionID, m)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, e.limit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, bytes.NewReader(body))
	if err != nil {
		return errors.New("build request") // the error would hold the URL
	}
	timestamp := strconv.FormatInt(time.Now().Unix(), 10)
	signatures := make([]string, len(e.secrets))
	for i, s := range e.secrets {
		signatures[i] = s.sign(key, timestamp, body)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", e.agent)
	req.Header.Set(HeaderID, key)
	req.Header.Set(HeaderTimestamp, timestamp)
	req.Header.Set(HeaderSignature, strings.Join(signatures, " "))
	req.Header.Set(HeaderAttempt, strconv.Itoa(attempt))
	resp, err := e.client.Do(req)
	if err != nil {
		if withURL, ok := errors.AsType[*url.Error](err); ok {
			err = withURL.Err
		}
		return fmt.Errorf("no answer from the receiver: %w", err)
	}
	drain(resp.Body, cancel)
	_ = resp.Body.Close() // the answer is known
	if resp.StatusCode >= 200 && resp.StatusCode <= 299 {
		return nil
	}
	return &refusal{resp.StatusCode, retryAfter(resp.Header.Get("Retry-After"), time.Now())}
}

// drain reads the end of an answer, so that the connection can be used again, unless that takes long or is large.
func drain(body io.Reader, cancel context.CancelFunc) {
	timer := time.AfterFunc(drainTime, cancel)
	defer timer.Stop()
	_, _ = io.CopyN(io.Discard, body, maxAnswer) // a connection that breaks here is not used again
}

// retryAfter reads a Retry-After header (RFC 9110, section 10.2.3): seconds, or a date.
func retryAfter(value string, now time.Time) time.Duration {
	var d time.Duration
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		d = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), maxRetryAfter)
}
