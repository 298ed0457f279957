package webhook

import (
	"log/slog"
	"net/http"
	"net/url"
	"sync/atomic"
)

const (
	perProcess = 64 // attempts under way at a time
	perSession = 8  // of them for one session: a receiver that is slow for one leaves room for the others
)

// Options configures a Dispatcher.
type Options struct {
	URL     *url.URL // from ParseURL
	Secrets []Secret // the current one first, then those that receivers may still verify with
	Version string   // of this program, for the User-Agent header
	Log     *slog.Logger
	// Transport makes the requests; nil for one that keeps connections open.
	Transport http.RoundTripper
}

// Dispatcher delivers the messages of a process's sessions to one receiver.
type Dispatcher struct {
	endpoint *endpoint
	slots    chan struct{} // one for each attempt under way
	health   *health
	log      *slog.Logger

	delivered, failed, waiting atomic.Int64
}

// New returns a dispatcher that has nothing to deliver yet.
func New(o Options) *Dispatcher {
	return &Dispatcher{
		endpoint: newEndpoint(o), slots: make(chan struct{}, perProcess), log: o.Log,
		health: &health{log: o.Log, host: o.URL.Scheme + "://" + o.URL.Host},
	}
}

// Close gives up idle connections. Every Queue has to be stopped before.
func (d *Dispatcher) Close() { d.endpoint.client.CloseIdleConnections() }

// Counters counts since the process started.
type Counters struct {
	Delivered int64 // messages the receiver has taken
	Failed    int64 // attempts that failed
	Expired   int64 // chats' next messages that were not kept any longer; more may have gone behind them
	Failing   int   // chats whose next message wasn't taken at the last attempt
	Waiting   int64 // messages that are known to be there and not to be delivered
}

// Counters returns the present counts.
func (d *Dispatcher) Counters() Counters {
	return Counters{
		Delivered: d.delivered.Load(), Failed: d.failed.Load(), Expired: d.health.expiries(),
		Failing: d.health.count(), Waiting: d.waiting.Load(),
	}
}
