// Package gateway is the front of an HTTP API as Amazon API Gateway runs it,
// payload format 2.0: it turns HTTP requests into events, hands them to
// functions and turns their answers into HTTP responses. The routes come from
// template.yaml. Authorizers, CORS, throttling and stages are not emulated; the
// template uses none of them but throttling.
package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/oklog/ulid/v2"
)

// Limits of an HTTP API
// (https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html)
// and of a function's event.
const (
	maxBody        = 10 << 20 // bytes of a request's body
	maxEvent       = 6 << 20  // bytes of an event
	maxIntegration = 30 * time.Second
)

// Options configures a gateway.
type Options struct {
	// Routes, as ReadTemplate gives them.
	Routes []Route
	// Invoke runs a function with an event and returns its response's payload.
	// context.DeadlineExceeded is answered 503, any other error 500.
	Invoke func(ctx context.Context, function string, event []byte) ([]byte, error)
	// Log gets a line a request: route, status, duration; no path, no header.
	// Default: none.
	Log *slog.Logger
}

// New makes the gateway's handler.
func New(o Options) http.Handler {
	return &gateway{o, cmp.Or(o.Log, slog.New(slog.DiscardHandler))}
}

type gateway struct {
	options Options
	log     *slog.Logger
}

// ServeHTTP implements http.Handler.
func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began, id := time.Now(), ulid.Make().String()
	w.Header().Set("Apigw-Requestid", id)
	route, status := g.serve(w, r, id)
	g.log.Info("request", "route", route, "status", status, "ms", time.Since(began).Milliseconds(), "id", id)
}

// serve answers the request and reports the route's key and the status.
func (g *gateway) serve(w http.ResponseWriter, r *http.Request, id string) (string, int) {
	route, params, ok := match(g.options.Routes, r.Method, r.URL.EscapedPath())
	if !ok {
		return "", refuse(w, http.StatusNotFound, "Not Found")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return route.key(), refuse(w, http.StatusRequestEntityTooLarge, "Request Entity Too Large")
	} else if err != nil {
		return route.key(), refuse(w, http.StatusBadRequest, "Bad Request")
	}
	event, err := json.Marshal(newEvent(r, route, params, body, id))
	if err != nil {
		g.log.Error("encode event", "err", err)
		return route.key(), refuse(w, http.StatusInternalServerError, "Internal Server Error")
	}
	if len(event) > maxEvent {
		return route.key(), refuse(w, http.StatusRequestEntityTooLarge, "Request Entity Too Large")
	}
	// A caller that leaves does not end the function's work, as at Amazon's.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), maxIntegration)
	defer cancel()
	payload, err := g.options.Invoke(ctx, route.Function, event)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		g.log.Error("function took too long", "function", route.Function, "err", err)
		return route.key(), refuse(w, http.StatusServiceUnavailable, "Service Unavailable")
	case err != nil:
		g.log.Error("function failed", "function", route.Function, "err", err)
		return route.key(), refuse(w, http.StatusInternalServerError, "Internal Server Error")
	}
	answer, err := readResponse(payload)
	if err != nil {
		g.log.Error("function answered nonsense", "function", route.Function, "err", err)
		return route.key(), refuse(w, http.StatusInternalServerError, "Internal Server Error")
	}
	return route.key(), answer.write(w)
}

// refuse answers as API Gateway does by itself.
func refuse(w http.ResponseWriter, status int, message string) int {
	body := `{"message":` + strconv.Quote(message) + `}`
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body) // a client that is gone needs no answer
	return status
}
