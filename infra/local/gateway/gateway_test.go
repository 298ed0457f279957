package gateway

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"
	"github.com/google/go-cmp/cmp"

	"cloudsession/functions/lambdahttp"
)

var routes = []Route{
	{Method: "GET", Path: "/cloud/sessions", Function: "list"},
	{Method: "ANY", Path: "/cloud/sessions", Function: "list-any"},
	{Method: "POST", Path: "/cloud/sessions/{sessionId}/sync", Function: "sync"},
	{Method: "DELETE", Path: "/cloud/sessions/{sessionId}", Function: "delete"},
	{Method: "DELETE", Path: "/cloud/sessions/all", Function: "delete-all"},
}

// serve answers one request by a function; event is what it got.
func serve(t *testing.T, r *http.Request, payload string, failure error) (w *httptest.ResponseRecorder, function string, event events.APIGatewayV2HTTPRequest) {
	t.Helper()
	g := New(Options{Routes: routes, Invoke: func(_ context.Context, f string, e []byte) ([]byte, error) {
		function = f
		if err := json.Unmarshal(e, &event); err != nil {
			t.Error(err)
		}
		return []byte(payload), failure
	}})
	w = httptest.NewRecorder()
	g.ServeHTTP(w, r)
	return w, function, event
}

func request(t *testing.T, method, target, body string) *http.Request {
	t.Helper()
	return httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
}

func TestEvent(t *testing.T) {
	r := request(t, "POST", "/cloud/sessions/toko%20%E2%98%95%2Fpusat/sync?b=2&a=1&a=%26&empty=", `{"x":"é"}`)
	r.Header.Set("Authorization", "Bearer token")
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	r.Header.Add("X-Many", "1")
	r.Header.Add("X-Many", "2")
	r.Header.Set("Cookie", "one=1; two=2")
	r.Header.Set("User-Agent", "test")
	_, function, e := serve(t, r, `{"statusCode":204}`, nil)
	if function != "sync" {
		t.Errorf("function %s", function)
	}
	if e.RequestContext.TimeEpoch == 0 || e.RequestContext.Time == "" || e.RequestContext.RequestID == "" {
		t.Errorf("request context %+v", e.RequestContext)
	}
	http := e.RequestContext.HTTP
	e.RequestContext = events.APIGatewayV2HTTPRequestContext{}
	want := events.APIGatewayV2HTTPRequest{
		Version: "2.0", RouteKey: "POST /cloud/sessions/{sessionId}/sync",
		RawPath: "/cloud/sessions/toko ☕/pusat/sync", RawQueryString: "b=2&a=1&a=%26&empty=",
		Cookies: []string{"one=1", "two=2"},
		Headers: map[string]string{
			"host": "example.com", "authorization": "Bearer token", "content-type": "application/json; charset=utf-8",
			"x-many": "1,2", "user-agent": "test", "x-forwarded-for": "192.0.2.1", "x-forwarded-proto": "http",
		},
		QueryStringParameters: map[string]string{"a": "1,&", "b": "2", "empty": ""},
		PathParameters:        map[string]string{"sessionId": "toko ☕/pusat"},
		Body:                  `{"x":"é"}`,
	}
	if diff := cmp.Diff(want, e); diff != "" {
		t.Error(diff)
	}
	if http.Method != "POST" || http.Path != want.RawPath || http.SourceIP != "192.0.2.1" || http.UserAgent != "test" || http.Protocol != "HTTP/1.1" {
		t.Errorf("http %+v", http)
	}
}

func TestBodies(t *testing.T) {
	for _, c := range []struct {
		contentType, body string
		asBase64          bool
	}{
		{"application/json", "{}", false},
		{"text/plain", "é", false},
		{"text/plain", "\xff", true},
		{"application/octet-stream", "abc", true},
		{"application/x-www-form-urlencoded", "a=b", true},
		{"", "abc", true},
		{"application/json", "", false},
	} {
		r := request(t, "POST", "/cloud/sessions/a/sync", c.body)
		r.Header.Set("Content-Type", c.contentType)
		_, _, e := serve(t, r, `{}`, nil)
		got := e.Body
		if e.IsBase64Encoded {
			raw, err := base64.StdEncoding.DecodeString(e.Body)
			if err != nil {
				t.Error(err)
			}
			got = string(raw)
		}
		if got != c.body || e.IsBase64Encoded != c.asBase64 {
			t.Errorf("%s %q: %q, base64 %v", c.contentType, c.body, e.Body, e.IsBase64Encoded)
		}
	}
}

func TestRouting(t *testing.T) {
	for _, c := range []struct{ method, target, function string }{
		{"GET", "/cloud/sessions", "list"},
		{"GET", "/cloud/sessions?limit=1", "list"},
		{"POST", "/cloud/sessions", "list-any"},
		{"GET", "/cloud/sessions/", ""},
		{"GET", "/cloud", ""},
		{"GET", "/", ""},
		{"DELETE", "/cloud/sessions/personal", "delete"},
		{"DELETE", "/cloud/sessions/all", "delete-all"},
		{"DELETE", "/cloud/sessions/%2E%2E", "delete"},
		{"DELETE", "/cloud/sessions/..", "delete"},
		{"DELETE", "/cloud/sessions/a/b", ""},
		{"DELETE", "/cloud/sessions/a%2Fb", "delete"},
		{"GET", "/cloud/sessions/personal", ""},
		{"POST", "/cloud/sessions//sync", ""},
		{"POST", "/cloud/sessions/a/sync/", ""},
		{"POST", "/Cloud/sessions/a/sync", ""},
	} {
		w, function, _ := serve(t, request(t, c.method, c.target, ""), `{"statusCode":200,"body":"ok"}`, nil)
		if function != c.function {
			t.Errorf("%s %s went to %q, want %q", c.method, c.target, function, c.function)
		}
		if function == "" && (w.Code != http.StatusNotFound || w.Body.String() != `{"message":"Not Found"}`) {
			t.Errorf("%s %s: %d %s", c.method, c.target, w.Code, w.Body)
		}
	}
}

func TestResponses(t *testing.T) {
	for _, c := range []struct {
		name, payload string
		failure       error
		status        int
		body          string
		header        http.Header
	}{
		{
			"everything", `{"statusCode":202,"headers":{"location":"/x","content-type":"application/json"},"cookies":["a=1","b=2"],"body":"{}"}`,
			nil, 202, "{}",
			http.Header{"Location": {"/x"}, "Content-Type": {"application/json"}, "Set-Cookie": {"a=1", "b=2"}},
		},
		{"base64", `{"statusCode":200,"isBase64Encoded":true,"body":"AP8="}`, nil, 200, "\x00\xff", nil},
		{"no content", `{"statusCode":204}`, nil, 204, "", nil},
		{"no status", `{"hello":1}`, nil, 200, `{"hello":1}`, http.Header{"Content-Type": {"application/json"}}},
		{"text", `"hello"`, nil, 200, `"hello"`, nil},
		{"error", ``, errors.New("secret detail"), 500, `{"message":"Internal Server Error"}`, nil},
		{"too late", ``, context.DeadlineExceeded, 503, `{"message":"Service Unavailable"}`, nil},
		{"not JSON", `hello`, nil, 500, `{"message":"Internal Server Error"}`, nil},
		{"impossible status", `{"statusCode":99}`, nil, 500, `{"message":"Internal Server Error"}`, nil},
		{"bad base64", `{"statusCode":200,"isBase64Encoded":true,"body":"%"}`, nil, 500, `{"message":"Internal Server Error"}`, nil},
	} {
		w, _, _ := serve(t, request(t, "GET", "/cloud/sessions", ""), c.payload, c.failure)
		if w.Code != c.status || w.Body.String() != c.body || w.Header().Get("Apigw-Requestid") == "" {
			t.Errorf("%s: %d %q %v", c.name, w.Code, w.Body, w.Header())
		}
		for name, want := range c.header {
			if diff := cmp.Diff(want, w.Header()[name]); diff != "" {
				t.Errorf("%s: %s: %s", c.name, name, diff)
			}
		}
	}
}

func TestLargeBodies(t *testing.T) {
	for size, want := range map[int]int{maxBody + 1: 413, maxEvent: 413, 1 << 20: 204} {
		r := request(t, "POST", "/cloud/sessions/a/sync", strings.Repeat("x", size))
		r.Header.Set("Content-Type", "text/plain")
		if w, _, _ := serve(t, r, `{"statusCode":204}`, nil); w.Code != want {
			t.Errorf("%d bytes: %d, want %d", size, w.Code, want)
		}
	}
}

// TestLogSaysNothingTelling: the route, not the path; no header.
func TestLogSaysNothingTelling(t *testing.T) {
	var log bytes.Buffer
	g := New(Options{
		Routes: routes, Log: slog.New(slog.NewTextHandler(&log, nil)),
		Invoke: func(context.Context, string, []byte) ([]byte, error) { return []byte(`{"statusCode":200}`), nil },
	})
	r := request(t, "DELETE", "/cloud/sessions/telling?q=telling", "telling")
	r.Header.Set("Authorization", "Bearer telling")
	g.ServeHTTP(httptest.NewRecorder(), r)
	if !strings.Contains(log.String(), "DELETE /cloud/sessions/{sessionId}") || strings.Contains(log.String(), "telling") {
		t.Errorf("logged %s", &log)
	}
}

// TestRoundTrip: what a client sends is what the functions' handler sees, and back.
func TestRoundTrip(t *testing.T) {
	type seen struct{ Method, Path, Query, Body, Auth string }
	var got seen
	h := lambdahttp.New(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got = seen{r.Method, r.URL.EscapedPath(), r.URL.RawQuery, string(body), r.Header.Get("Authorization")}
		w.Header().Set("Location", "/cloud/commands/1")
		w.WriteHeader(http.StatusAccepted)
		_, _ = w.Write([]byte("\x00\xffhello"))
	}))
	g := New(Options{Routes: routes, Invoke: func(ctx context.Context, _ string, event []byte) ([]byte, error) {
		var e events.APIGatewayV2HTTPRequest
		if err := json.Unmarshal(event, &e); err != nil {
			return nil, err
		}
		r, err := h(ctx, e)
		if err != nil {
			return nil, err
		}
		return json.Marshal(r)
	}})
	for _, id := range []string{"personal", "toko ☕", "a/b", "..", "100%", "a?b#c", "a+b", strings.Repeat("☕", 255)} {
		r := request(t, "POST", "/cloud/sessions/"+url.PathEscape(id)+"/sync?limit=%32&cursor=a%2Bb", "\x00\x01\xfe")
		r.Header.Set("Authorization", "Bearer token")
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		want := seen{"POST", "/cloud/sessions/" + url.PathEscape(id) + "/sync", "limit=%32&cursor=a%2Bb", "\x00\x01\xfe", "Bearer token"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", id, diff)
		}
		if w.Code != 202 || w.Body.String() != "\x00\xffhello" || w.Header().Get("Location") != "/cloud/commands/1" {
			t.Errorf("%q: %d %q %v", id, w.Code, w.Body, w.Header())
		}
	}
}
