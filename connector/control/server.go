package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// Connector is what the socket serves. Implementations return errors whose text
// tells the operator what to do; Status maps them to an HTTP status.
type Connector interface {
	Sessions() []Session
	Open(ctx context.Context, sessionID string) (Session, error)
	Close(ctx context.Context, sessionID string) error
	// RestoreAt opens a closed session as it was at an older point of its log.
	RestoreAt(ctx context.Context, sessionID string, r RestoreRequest) (Session, error)
	// Pair reports events until it returns; a nil error means that the last one
	// said how pairing ended.
	Pair(ctx context.Context, sessionID string, r PairRequest, report func(PairEvent)) error
	// Send returns a *SendError where the message may be, or may become, sent.
	Send(ctx context.Context, sessionID string, r SendRequest) (Sent, error)
	// Messages reports received messages after the given number, and goes on
	// with new ones when follow is set, until ctx ends.
	Messages(ctx context.Context, sessionID string, after int64, follow bool, report func(Message) error) error
	// Lost reports the messages that only files of ended terms on this machine hold.
	Lost(ctx context.Context, sessionID string, report func(Message) error) error
	Drainer
	Mover
	Status(err error) int
}

// maxBody bounds a request: WhatsApp takes texts of up to 65,536 characters.
const maxBody = 512 << 10

// routes are those of the local socket. All but a send are ended by the server's end.
func routes(h handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/health", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET /v1/sessions", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{"sessions": h.c.Sessions()})
	})
	mux.HandleFunc("POST /v1/sessions/{id}/open", whole(h.untilEnd(h.open)))
	mux.HandleFunc("POST /v1/sessions/{id}/close", whole(h.untilEnd(h.close)))
	mux.HandleFunc("POST /v1/sessions/{id}/restore", whole(h.untilEnd(h.restoreAt)))
	mux.HandleFunc("POST /v1/sessions/{id}/pair", whole(h.streaming(h.pair)))
	mux.HandleFunc("POST /v1/sessions/{id}/send", whole(h.send))
	mux.HandleFunc("GET /v1/sessions/{id}/messages", whole(h.streaming(h.messages)))
	mux.HandleFunc("GET /v1/sessions/{id}/lost", whole(h.streaming(h.lost)))
	mux.HandleFunc("POST /v1/sessions/{id}/import", h.receiving(h.importFile)) // reads its file to the end itself
	mux.HandleFunc("POST /v1/sessions/{id}/export", whole(h.untilEnd(h.exportFile)))
	mux.HandleFunc("POST /v1/drain", whole(h.streaming(h.drain)))
	mux.HandleFunc("DELETE /v1/drain", whole(h.untilEnd(h.undrain)))
	return mux
}

// whole reads a request to its end before it is handled. Only then does net/http
// look out for a client that goes away, which is to end the request's context.
func whole(handle http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			unreadable(w, err)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		handle(w, r)
	}
}

func unreadable(w http.ResponseWriter, err error) {
	status := http.StatusBadRequest
	if _, tooLong := errors.AsType[*http.MaxBytesError](err); tooLong {
		status = http.StatusRequestEntityTooLarge
	}
	writeJSON(w, status, errorBody{Error: fmt.Sprintf("read request: %v", err)})
}

type handler struct {
	c      Connector
	ending context.Context // ends when the server's end begins
}

func (h handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	if err = why(r, err); errors.Is(err, errEnding) {
		writeJSON(w, http.StatusServiceUnavailable, errorBody{Error: err.Error()})
		return
	}
	body := errorBody{Error: err.Error()}
	if e, ok := errors.AsType[*SendError](err); ok {
		body.Outcome = e.Outcome
	}
	writeJSON(w, h.c.Status(err), body)
}

func (h handler) open(w http.ResponseWriter, r *http.Request) {
	s, err := h.c.Open(r.Context(), r.PathValue("id"))
	if err != nil {
		h.fail(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, s)
}

func (h handler) close(w http.ResponseWriter, r *http.Request) {
	if err := h.c.Close(r.Context(), r.PathValue("id")); err != nil {
		h.fail(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "closed"})
}

func (h handler) send(w http.ResponseWriter, r *http.Request) {
	var req SendRequest
	if !decode(w, r, &req) {
		return
	}
	sent, err := h.c.Send(r.Context(), r.PathValue("id"), req)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, sent)
}

func (h handler) pair(w http.ResponseWriter, r *http.Request) {
	var req PairRequest
	if !decode(w, r, &req) {
		return
	}
	s := stream{w: w, ending: h.ending}
	err := h.c.Pair(r.Context(), r.PathValue("id"), req, func(e PairEvent) { s.send(e) })
	if err == nil {
		return
	}
	if !s.started {
		h.fail(w, r, err)
		return
	}
	s.send(PairEvent{Kind: "failed", Error: why(r, err).Error()})
}

func (h handler) messages(w http.ResponseWriter, r *http.Request) {
	after, err := strconv.ParseInt(r.URL.Query().Get("after"), 10, 64)
	if err != nil {
		writeJSON(w, http.StatusBadRequest, errorBody{Error: "after must be a whole number"})
		return
	}
	h.streamMessages(w, r, func(report func(Message) error) error {
		return h.c.Messages(r.Context(), r.PathValue("id"), after, r.URL.Query().Get("follow") == "true", report)
	})
}

func (h handler) lost(w http.ResponseWriter, r *http.Request) {
	h.streamMessages(w, r, func(report func(Message) error) error {
		return h.c.Lost(r.Context(), r.PathValue("id"), report)
	})
}

// streamMessages sends what read reports, a line each.
func (h handler) streamMessages(w http.ResponseWriter, r *http.Request, read func(report func(Message) error) error) {
	s := stream{w: w, ending: h.ending}
	err := why(r, read(func(m Message) error {
		s.send(m)
		return s.err
	}))
	switch {
	case err == nil || errors.Is(err, context.Canceled):
	case !s.started:
		h.fail(w, r, err)
	default:
		s.send(errorBody{Error: err.Error()})
	}
}

// stream writes newline-delimited JSON, flushed line by line.
type stream struct {
	w       http.ResponseWriter
	ending  context.Context // as handler's
	started bool
	err     error
}

func (s *stream) send(v any) {
	if s.err != nil {
		return
	}
	if !s.started {
		s.w.Header().Set("Content-Type", "application/x-ndjson")
		s.w.WriteHeader(http.StatusOK)
		s.started = true
	}
	if s.ending.Err() != nil {
		s.err = http.NewResponseController(s.w).SetWriteDeadline(time.Now().Add(lastLines))
	}
	if s.err == nil {
		s.err = json.NewEncoder(s.w).Encode(v)
	}
	if s.err == nil {
		s.err = http.NewResponseController(s.w).Flush()
	}
}

func decode(w http.ResponseWriter, r *http.Request, v any) bool {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		unreadable(w, err)
		return false
	}
	return true
}
