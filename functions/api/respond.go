package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"time"
)

const headerRequestID = "X-Request-Id"

// response is a whole response, made before anything is written.
type response struct {
	status int
	code   string // of an error, for the log
	header http.Header
	body   []byte
}

// reply makes a response of a JSON value.
func reply(status int, v any) (response, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false) // the bodies are data, never markup, and session ids may hold "&"
	if err := enc.Encode(v); err != nil {
		return response{}, fmt.Errorf("encode response: %w", err)
	}
	return response{status: status, body: bytes.TrimSuffix(buf.Bytes(), []byte("\n"))}, nil
}

func (res response) write(w http.ResponseWriter, requestID string) {
	h := w.Header()
	maps.Copy(h, res.header)
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set(headerRequestID, requestID)
	w.WriteHeader(res.status)
	// The only failure is a client that has gone, and there is nobody left to tell.
	_, _ = w.Write(res.body)
}

// when is a time as the specification writes it: RFC 3339, UTC, whole seconds.
func when(t time.Time) string { return t.UTC().Truncate(time.Second).Format(time.RFC3339) }

// whenOrNull is when for a time that may be missing; nil becomes null.
func whenOrNull(t *time.Time) *string {
	if t == nil {
		return nil
	}
	s := when(*t)
	return &s
}
