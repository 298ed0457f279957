package faultproxy

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
)

// HTTP is a handler that forwards requests to target; hook decides about each,
// as about a statement. It is for HTTP/1. The Until of a late request must be
// closed some time: nothing else ends the wait. For the faults of links put a
// Proxy in front of the handler's server.
func HTTP(target *url.URL, transport http.RoundTripper, hook func(*http.Request) Verdict) http.Handler {
	forward := &httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:    transport,
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := hook(r)
		if v.Action == FailBefore {
			v.then()
			panic(http.ErrAbortHandler)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		if v.Action == Late || v.Action == LateCut {
			v.held()
		}
		if v.Action == LateCut {
			if client, _, err := http.NewResponseController(w).Hijack(); err == nil {
				_ = client.Close()
			}
		}
		if v.Action == Late || v.Action == LateCut {
			<-v.Until
		}
		// It is carried out also when the client is gone by then.
		again := r.WithContext(context.WithoutCancel(r.Context()))
		again.Body = io.NopCloser(bytes.NewReader(body))
		if v.Action == FailAfter || v.Action == LateCut {
			forward.ServeHTTP(discard{http.Header{}}, again)
			v.then()
			panic(http.ErrAbortHandler)
		}
		forward.ServeHTTP(w, again)
		v.then()
	})
}

// discard takes an answer that nobody gets.
type discard struct{ header http.Header }

// Header makes discard an http.ResponseWriter, as the methods below do.
func (d discard) Header() http.Header { return d.header }

func (d discard) Write(p []byte) (int, error) { return len(p), nil }

// WriteHeader does nothing.
func (d discard) WriteHeader(int) {}
