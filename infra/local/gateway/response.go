package gateway

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/aws/aws-lambda-go/events"
)

type functionResponse struct {
	status  int
	header  http.Header
	payload []byte
}

// readResponse reads a function's payload. One without a status code is the
// body itself, as JSON with status 200.
func readResponse(payload []byte) (functionResponse, error) {
	if !json.Valid(payload) {
		return functionResponse{}, fmt.Errorf("%d bytes that are not JSON", len(payload))
	}
	var probe struct {
		StatusCode *int `json:"statusCode"`
	}
	if err := json.Unmarshal(payload, &probe); err != nil || probe.StatusCode == nil {
		header := http.Header{"Content-Type": {"application/json"}}
		return functionResponse{http.StatusOK, header, payload}, nil
	}
	var e events.APIGatewayV2HTTPResponse
	if err := json.Unmarshal(payload, &e); err != nil {
		return functionResponse{}, fmt.Errorf("read response: %w", err)
	}
	if e.StatusCode < 200 || e.StatusCode > 599 {
		return functionResponse{}, fmt.Errorf("status %d", e.StatusCode)
	}
	r := functionResponse{e.StatusCode, http.Header{}, []byte(e.Body)}
	if e.IsBase64Encoded {
		body, err := base64.StdEncoding.DecodeString(e.Body)
		if err != nil {
			return functionResponse{}, fmt.Errorf("read body: %w", err)
		}
		r.payload = body
	}
	// Format 2.0 knows no multiValueHeaders: API Gateway ignores them, and so does this.
	for name, value := range e.Headers {
		r.header.Set(name, value)
	}
	for _, c := range e.Cookies {
		r.header.Add("Set-Cookie", c)
	}
	if r.header.Get("Content-Type") == "" {
		r.header.Set("Content-Type", "text/plain; charset=utf-8")
	}
	return r, nil
}

// write sends the response and returns its status.
func (r functionResponse) write(w http.ResponseWriter) int {
	for name, values := range r.header {
		if !strings.EqualFold(name, "Content-Length") {
			w.Header()[name] = values
		}
	}
	if r.status != http.StatusNoContent && r.status != http.StatusNotModified {
		w.Header().Set("Content-Length", strconv.Itoa(len(r.payload)))
	}
	w.WriteHeader(r.status)
	_, _ = w.Write(r.payload) // a client that is gone needs no answer
	return r.status
}
