// Package apitest checks responses of the API against openapi.yaml, in the
// API's own tests and wherever else the API is called.
package apitest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"cloudsession/functions/api"
)

// Checker holds the parsed description. It is safe for concurrent use.
type Checker struct {
	doc *openapi3.T
}

// New reads and validates the description, its examples included.
func New() (*Checker, error) {
	doc, err := openapi3.NewLoader().LoadFromData(api.OpenAPI())
	if err != nil {
		return nil, fmt.Errorf("read openapi.yaml: %w", err)
	}
	if err := doc.Validate(context.Background(), openapi3.EnableExamplesValidation()); err != nil {
		return nil, fmt.Errorf("validate openapi.yaml: %w", err)
	}
	return &Checker{doc: doc}, nil
}

// Doc is the description.
func (c *Checker) Doc() *openapi3.T { return c.doc }

// Check says what of a response is not as described: status, headers, content
// type and body. A path that is not described must be answered 404, and a
// method that is not, 405.
func (c *Checker) Check(r *http.Request, status int, header http.Header, body []byte) error {
	if err := c.check(r, status, header, body); err != nil {
		return fmt.Errorf("%s %s: response %d is not as openapi.yaml says: %w", r.Method, r.URL.EscapedPath(), status, err)
	}
	return nil
}

func (c *Checker) check(r *http.Request, status int, header http.Header, body []byte) error {
	path, item := c.find(r.URL.EscapedPath())
	if item == nil {
		return checkNotFound(status, body)
	}
	op := item.GetOperation(r.Method)
	if op == nil {
		if status != http.StatusMethodNotAllowed && status != http.StatusBadRequest {
			return errors.New("the path has no such method")
		}
		for _, other := range item.Operations() { // any: they describe 405 alike
			op = other
		}
	}
	return openapi3filter.ValidateResponse(r.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{
			// A copy whose method is not HEAD: the headers of its responses would go unchecked.
			Request: &http.Request{Method: http.MethodGet, URL: r.URL, Header: r.Header},
			Route:   &routers.Route{Spec: c.doc, Path: path, PathItem: item, Method: r.Method, Operation: op},
		},
		Status:  status,
		Header:  header,
		Body:    io.NopCloser(bytes.NewReader(body)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true, ExcludeResponseBody: r.Method == http.MethodHead && len(body) == 0},
	})
}

// find is the description's path item for an escaped path. A segment is one
// parameter, whatever it is made of.
func (c *Checker) find(escaped string) (string, *openapi3.PathItem) {
	got := strings.Split(escaped, "/")
	for path, item := range c.doc.Paths.Map() {
		if fits(strings.Split(path, "/"), got) {
			return path, item
		}
	}
	return "", nil
}

func fits(want, got []string) bool {
	if len(want) != len(got) {
		return false
	}
	for i, w := range want {
		if strings.HasPrefix(w, "{") {
			if got[i] == "" {
				return false
			}
		} else if w != got[i] {
			return false
		}
	}
	return true
}

// checkNotFound accepts the API's 404 and the gateway's own.
func checkNotFound(status int, body []byte) error {
	if status != http.StatusNotFound {
		return errors.New("the path is not described")
	}
	text := strings.TrimSpace(string(body))
	if text != `{"message":"Not Found"}` && text != `{"error":"No such route","code":"not_found"}` {
		return fmt.Errorf("unexpected body %q", text)
	}
	return nil
}

// Transport checks every response that comes through base (nil:
// http.DefaultTransport). One that is not as described makes the request fail.
func (c *Checker) Transport(base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	return &transport{c, base}
}

type transport struct {
	checker *Checker
	base    http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := t.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		return nil, fmt.Errorf("read response: %w", err)
	}
	if err := t.checker.Check(r, res.StatusCode, res.Header, body); err != nil {
		return nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	return res, nil
}

// Handler passes requests on to h and reports every response that is not as
// described. The client gets the response as it is.
func (c *Checker) Handler(h http.Handler, report func(error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		if err := c.Check(r, rec.Code, rec.Header(), rec.Body.Bytes()); err != nil {
			report(err)
		}
		maps.Copy(w.Header(), rec.Header())
		w.WriteHeader(rec.Code)
		if _, err := w.Write(rec.Body.Bytes()); err != nil {
			report(fmt.Errorf("pass on response: %w", err))
		}
	})
}
