package lambdahttp

import (
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"testing"

	"github.com/aws/aws-lambda-go/events"
)

// echo answers with what arrived, one item a line.
var echo = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(err)
	}
	for _, s := range []string{r.Method, r.URL.EscapedPath(), r.URL.RawQuery, r.Header.Get("X-Request-Id"), string(body)} {
		if _, err := io.WriteString(w, s+"\n"); err != nil {
			panic(err)
		}
	}
})

func event(method, rawPath string) events.APIGatewayV2HTTPRequest {
	var e events.APIGatewayV2HTTPRequest
	e.RawPath = rawPath
	e.RequestContext.DomainName = "api.example"
	e.RequestContext.RequestID = "Jx0="
	e.RequestContext.HTTP.Method = method
	e.RequestContext.HTTP.Path = rawPath
	return e
}

func TestPathsOfEvents(t *testing.T) {
	const status = "GET /cloud/sessions/{sessionId}/status"
	tests := []struct {
		name, routeKey, rawPath string
		params                  map[string]string
		want                    string
	}{
		{"plain", status, "/cloud/sessions/personal/status", map[string]string{"sessionId": "personal"}, "/cloud/sessions/personal/status"},
		{"decoded by the gateway", status, "/cloud/sessions/toko ☕/status", map[string]string{"sessionId": "toko ☕"}, "/cloud/sessions/toko%20%E2%98%95/status"},
		{"percent sign", status, "/cloud/sessions/100%/status", map[string]string{"sessionId": "100%"}, "/cloud/sessions/100%25/status"},
		{"percent and digits", status, "/cloud/sessions/a%41/status", map[string]string{"sessionId": "a%41"}, "/cloud/sessions/a%2541/status"},
		{"slash kept by a gateway that can", status, "/cloud/sessions/a%2Fb/status", map[string]string{"sessionId": "a/b"}, "/cloud/sessions/a%2Fb/status"},
		{"two dots", status, "/cloud/sessions/../status", map[string]string{"sessionId": ".."}, "/cloud/sessions/../status"},
		{"question mark, cut off by the gateway", status, "/cloud/sessions/a", map[string]string{"sessionId": "a?b"}, "/cloud/sessions/a%3Fb/status"},
		{"any method", "ANY /cloud/sessions/{sessionId}", "/cloud/sessions/a", map[string]string{"sessionId": "a"}, "/cloud/sessions/a"},
		{"no parameters in the route", "GET /cloud/sessions", "/prod/cloud/sessions", nil, "/cloud/sessions"},
		{"default route, decoded", "$default", "/a b/☕", nil, "/a%20b/%E2%98%95"},
		{"default route, encoded", "$default", "/a%20b/%E2%98%95", nil, "/a%20b/%E2%98%95"},
		{"default route, question mark", "$default", "/a?b", nil, "/a%3Fb"},
		{"default route, half an escape", "$default", "/a%2/b%", nil, "/a%252/b%25"},
		{"function URL", "", "/cloud/sessions/a%2Fb/status", nil, "/cloud/sessions/a%2Fb/status"},
		{"parameters missing", status, "/cloud/sessions/a%20b/status", nil, "/cloud/sessions/a%20b/status"},
		{"nothing", "", "", nil, "/"},
	}
	handle := New(echo)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := event("GET", tt.rawPath)
			e.RouteKey, e.PathParameters, e.RawQueryString = tt.routeKey, tt.params, "a=%20b&c"
			res, err := handle(t.Context(), e)
			if want := "GET\n" + tt.want + "\na=%20b&c\nJx0=\n\n"; err != nil || res.StatusCode != 200 || res.Body != want {
				t.Errorf("%d %q, %v\nwant %q", res.StatusCode, res.Body, err, want)
			}
		})
	}
}

func TestBodyAndRequestID(t *testing.T) {
	e := event("post", "/x")
	e.Headers = map[string]string{"X-Request-ID": "theirs", "content-type": "application/json"}
	e.Body, e.IsBase64Encoded = base64.StdEncoding.EncodeToString([]byte(`{"a":"☕"}`)), true
	res, err := New(echo)(t.Context(), e)
	if want := "POST\n/x\n\nJx0=\n{\"a\":\"☕\"}\n"; err != nil || res.Body != want {
		t.Errorf("%q, %v", res.Body, err)
	}
	e.RequestContext.RequestID = ""
	res, err = New(echo)(t.Context(), e)
	if want := "POST\n/x\n\ntheirs\n{\"a\":\"☕\"}\n"; err != nil || res.Body != want {
		t.Errorf("%q, %v", res.Body, err)
	}
}

// TestBrokenEvents: what cannot be a request is the caller's mistake, never an
// error of the function.
func TestBrokenEvents(t *testing.T) {
	for name, spoil := range map[string]func(*events.APIGatewayV2HTTPRequest){
		"body":   func(e *events.APIGatewayV2HTTPRequest) { e.Body, e.IsBase64Encoded = "%%%", true },
		"query":  func(e *events.APIGatewayV2HTTPRequest) { e.RawQueryString = "a\x00b" },
		"method": func(e *events.APIGatewayV2HTTPRequest) { e.RequestContext.HTTP.Method = "A B" },
		"host":   func(e *events.APIGatewayV2HTTPRequest) { e.RequestContext.DomainName = "a b" },
	} {
		t.Run(name, func(t *testing.T) {
			e := event("GET", "/x")
			spoil(&e)
			res, err := New(echo)(t.Context(), e)
			if err != nil || res.StatusCode != 400 || res.Body != `{"error":"The request is malformed","code":"invalid_request"}` {
				t.Errorf("%d %q, %v", res.StatusCode, res.Body, err)
			}
		})
	}
}

// FuzzEvent: any path and parameter makes a request, and the parameter arrives as it was.
func FuzzEvent(f *testing.F) {
	for _, s := range []string{"a", "toko ☕", "%", "%2F", "a/b", "?", "#", "..", "\x00", "\xff", ":", "//x"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, rawPath, id string) {
		var path string
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { path = r.URL.EscapedPath(); w.WriteHeader(204) })
		e := event("GET", rawPath)
		if res, err := New(h)(t.Context(), e); err != nil || res.StatusCode != 204 {
			t.Errorf("path %q: %d, %v", rawPath, res.StatusCode, err)
		}
		e.RouteKey, e.PathParameters = "GET /s/{id}/status", map[string]string{"id": id}
		if res, err := New(h)(t.Context(), e); err != nil || res.StatusCode != 204 || path != "/s/"+url.PathEscape(id)+"/status" {
			t.Errorf("id %q: %d, %v, %q", id, res.StatusCode, err, path)
		}
	})
}
