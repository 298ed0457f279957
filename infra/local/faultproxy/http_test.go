package faultproxy_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"cloudsession/infra/local/faultproxy"
)

func TestHTTP(t *testing.T) {
	var served atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
		served.Add(1)
	}))
	defer server.Close()
	target, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	var verdict atomic.Pointer[faultproxy.Verdict]
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	proxy := httptest.NewServer(faultproxy.HTTP(target, transport, func(*http.Request) faultproxy.Verdict { return *verdict.Load() }))
	defer proxy.Close()
	post := func(v faultproxy.Verdict) (string, error) {
		verdict.Store(&v)
		// A connection of its own: one that was used before would be tried again.
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		r, err := client.Post(proxy.URL, "text/plain", strings.NewReader("hello"))
		if err != nil {
			return "", err
		}
		defer func() { _ = r.Body.Close() }()
		b, err := io.ReadAll(r.Body)
		return string(b), err
	}
	if got, err := post(faultproxy.Verdict{}); got != "hello" || err != nil {
		t.Errorf("pass: %q, %v", got, err)
	}
	if _, err := post(faultproxy.Verdict{Action: faultproxy.FailBefore}); err == nil || served.Load() != 1 {
		t.Errorf("fail before: %v, served %d, want 1", err, served.Load())
	}
	if _, err := post(faultproxy.Verdict{Action: faultproxy.FailAfter}); err == nil || served.Load() != 2 {
		t.Errorf("fail after: %v, served %d, want 2", err, served.Load())
	}
	release, landed := make(chan struct{}), make(chan struct{})
	if _, err := post(faultproxy.Verdict{Action: faultproxy.LateCut, Until: release, Then: func() { close(landed) }}); err == nil || served.Load() != 2 {
		t.Errorf("late: %v, served %d, want 2", err, served.Load())
	}
	close(release)
	next(t, landed)
	if served.Load() != 3 {
		t.Errorf("served %d, want 3", served.Load())
	}
}
