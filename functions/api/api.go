// Package api is the HTTP surface of the system: the five routes of the Cloud
// Session Sync specification and the state of a command. It reads session rows
// and writes commands; it holds no key that opens a session, and nothing it
// imports does.
//
// A Handler serves all routes, or one of them in a Lambda function. Sessions
// are moved and pushed by connectors: sync and restore write a row that says
// what is wanted, knock on the connector's queue, and wait for the row to be
// finished. openapi.yaml describes every response.
package api

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/oklog/ulid/v2"

	"cloudsession/functions/emf"
	"cloudsession/shared/cloudstore"
)

// Limits and defaults.
const (
	// DefaultWait is how long sync and restore wait for a connector before they
	// answer 202. An HTTP API gives an integration 30 s at most.
	DefaultWait = 20 * time.Second
	// CommandLifetime is how long a command may stay unfinished before it expires.
	CommandLifetime = 5 * time.Minute
	// MaxUnfinished is how many commands one caller (Caller.Subject) may have
	// unfinished: connectors that are slow or away must not collect one caller's
	// commands without end, for the others' would stand behind them.
	MaxUnfinished = 100
	// MaxBody is the largest request body that is read, in bytes.
	MaxBody = 4 << 10
	// DefaultLimit and MaxLimit bound how many sessions one page lists.
	DefaultLimit = cloudstore.DefaultPage
	MaxLimit     = cloudstore.MaxPage

	// The longest cursor names the 500 rows of a first page.
	maxCursor = 4 << 10

	storeTimeout = 5 * time.Second
	sendTimeout  = 3 * time.Second
	// A long log takes its time to delete. What a call leaves the next one finishes.
	deleteTimeout = 20 * time.Second
	// A function that is killed at its deadline answers nothing at all, so that
	// waiting ends this long before it.
	deadlineMargin = 2 * time.Second
)

// Options says what a Handler serves and from where. Sessions and Auth are
// required; Commands and Queue only for the routes that use them.
type Options struct {
	// Only names the one route to serve ("list-sessions"); empty: all of them.
	Only string
	// Sessions reads and deletes what is in the cloud.
	Sessions SessionStore
	// Commands is needed by sync-session, restore-session and command-status.
	Commands CommandStore
	// Queue is needed by sync-session and restore-session.
	Queue Sender
	// Auth decides who may call.
	Auth *Auth
	// Metrics gets one line a request; nil: none.
	Metrics *emf.Writer
	// Log gets one line a request, and what the caller is not told. Default: slog.Default().
	Log *slog.Logger
	// Wait is how long sync and restore wait for their command. Default
	// DefaultWait; negative: not at all.
	Wait time.Duration
}

// Handler serves the API, or one route of it.
type Handler struct {
	routes   []Route
	sessions SessionStore
	commands CommandStore
	queue    Sender
	auth     *Auth
	metrics  *emf.Writer
	log      *slog.Logger
	wait     time.Duration
}

// New makes a Handler. The error names what is missing.
func New(o Options) (*Handler, error) {
	h := &Handler{
		sessions: o.Sessions, commands: o.Commands, queue: o.Queue, auth: o.Auth,
		metrics: o.Metrics, log: o.Log, wait: o.Wait,
	}
	if h.log == nil {
		h.log = slog.Default()
	}
	if h.wait == 0 {
		h.wait = DefaultWait
	}
	for _, r := range Routes() {
		if o.Only == "" || o.Only == r.Name {
			h.routes = append(h.routes, r)
		}
	}
	if len(h.routes) == 0 {
		return nil, fmt.Errorf("set up API: there is no route %q", o.Only)
	}
	if err := h.check(); err != nil {
		return nil, fmt.Errorf("set up API: %w", err)
	}
	return h, nil
}

func (h *Handler) check() error {
	if h.auth == nil {
		return errors.New("no authentication")
	}
	for _, r := range h.routes {
		switch {
		case r.needs&needSessions != 0 && h.sessions == nil:
			return fmt.Errorf("%s needs the sessions", r.Name)
		case r.needs&needCommands != 0 && h.commands == nil:
			return fmt.Errorf("%s needs the commands", r.Name)
		case r.needs&needQueue != 0 && h.queue == nil:
			return fmt.Errorf("%s needs a queue", r.Name)
		}
	}
	return nil
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	req := &request{Request: r, id: requestID(r.Header)}
	res := h.answer(w, req)
	res.write(w, req.id)
	took := time.Since(start)
	h.log.LogAttrs(r.Context(), levelOf(res.status), "request",
		slog.String("request_id", req.id),
		slog.String("route", req.route.Name),
		slog.String("method", r.Method),
		slog.Int("status", res.status),
		slog.String("code", res.code),
		slog.String("session", req.sessionID),
		slog.String("subject", req.caller.Subject),
		slog.Duration("took", took),
	)
	h.measure(req, res, took)
}

func levelOf(status int) slog.Level {
	if status >= http.StatusInternalServerError {
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

// answer runs the request through every step and makes one response of whatever happens.
func (h *Handler) answer(w http.ResponseWriter, r *request) (res response) {
	defer func() {
		if p := recover(); p != nil {
			h.log.ErrorContext(r.Context(), "handler panicked", "request_id", r.id, "panic", fmt.Sprint(p))
			res = internalError.response()
		}
	}()
	res, err := h.serve(w, r)
	if err == nil {
		return res
	}
	if p, ok := errors.AsType[*problem](err); ok {
		return p.response()
	}
	h.log.ErrorContext(r.Context(), "request failed", "request_id", r.id, "route", r.route.Name, "error", err)
	return problemOf(err).response()
}

func (h *Handler) serve(w http.ResponseWriter, r *request) (response, error) {
	if err := h.match(r); err != nil {
		return response{}, err
	}
	if err := h.admit(r); err != nil {
		return response{}, err
	}
	if err := readBody(w, r); err != nil {
		return response{}, err
	}
	return r.route.serve(h, r)
}

// request is a request on its way through the handler.
type request struct {
	*http.Request
	id        string // request id
	route     Route
	param     string // the path parameter, decoded once
	sessionID string // param, once it is known to be a session id
	caller    Caller
	body      []byte
	waited    *wait // for a command; nil if it gave none
}

// requestID takes the id given by the gateway, or by a client if it is harmless
// to store and print, or else makes one.
func requestID(h http.Header) string {
	id := h.Get(headerRequestID)
	if id == "" || len(id) > 64 {
		return ulid.Make().String()
	}
	for _, c := range []byte(id) {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && c != '-' && c != '_' && c != '.' && c != '=' {
			return ulid.Make().String()
		}
	}
	return id
}
