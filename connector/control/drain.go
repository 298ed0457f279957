package control

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// DrainEvent is one line of a drain's stream.
type DrainEvent struct {
	// Kind is begin (Left sessions are open), moved (SessionID is open on To now),
	// stays (SessionID can't be moved, for Reason), done (Moved were moved, Left are
	// still open here) or failed (the drain broke off, for Reason).
	Kind      string `json:"kind"`
	SessionID string `json:"session_id,omitempty"`
	To        string `json:"to,omitempty"`
	Millis    int64  `json:"took_ms,omitempty"` // from the decision to the session open on To
	Reason    string `json:"reason,omitempty"`
	Moved     int    `json:"moved"`
	Left      int    `json:"left"`
}

// Drainer is a Connector that can give its sessions away.
type Drainer interface {
	// Drain makes the connector take nothing any more and moves its sessions to
	// others. It reports events until it returns; a nil error means that the last
	// one was "done". If ctx ends, the connector goes on draining.
	Drain(ctx context.Context, report func(DrainEvent)) error
	// Undrain lets the connector take sessions again.
	Undrain(ctx context.Context) error
}

func (h handler) drain(w http.ResponseWriter, r *http.Request) {
	s := stream{w: w, ending: h.ending}
	err := h.c.Drain(r.Context(), func(e DrainEvent) { s.send(e) })
	switch {
	case err == nil:
	case !s.started:
		h.fail(w, r, err)
	default:
		s.send(DrainEvent{Kind: "failed", Reason: why(r, err).Error()})
	}
}

func (h handler) undrain(w http.ResponseWriter, r *http.Request) {
	if err := h.c.Undrain(r.Context()); err != nil {
		h.fail(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "taking sessions"})
}

// Drain makes the connector give its sessions away and calls report for each event.
func (c *Client) Drain(ctx context.Context, report func(DrainEvent) error) error {
	return c.stream(ctx, http.MethodPost, "/v1/drain", struct{}{}, func(line json.RawMessage) error {
		var e DrainEvent
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("read drain event: %w", err)
		}
		return report(e)
	})
}

// Undrain lets the connector take sessions again.
func (c *Client) Undrain(ctx context.Context) error {
	return c.call(ctx, http.MethodDelete, "/v1/drain", nil, nil)
}
