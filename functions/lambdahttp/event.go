package lambdahttp

import (
	"encoding/base64"
	"errors"
	"net/url"
	"strings"

	"github.com/aws/aws-lambda-go/events"
)

var errEvent = errors.New("event is no request")

// prepare makes the event one that becomes the request the client sent.
//
// An HTTP API hands over rawPath already decoded, so that "toko%2Fpusat" and
// "toko/pusat" look alike and an id with a space is no path at all. The route
// that matched and the parameters, decoded once, are given too: the path is
// made again from those. An event without them (a function URL, a hand-made
// one) has its path as sent.
func prepare(e *events.APIGatewayV2HTTPRequest) error {
	path, ok := fromRoute(e.RouteKey, e.PathParameters)
	if !ok {
		path = escape(e.RawPath)
	}
	e.RawPath, e.RequestContext.HTTP.Path = path, path
	if _, err := url.Parse("https://host" + path + "?" + e.RawQueryString); err != nil {
		return errEvent
	}
	if e.IsBase64Encoded {
		if _, err := base64.StdEncoding.DecodeString(e.Body); err != nil {
			return errEvent
		}
	}
	setRequestID(e)
	return nil
}

// fromRoute makes the escaped path of a route key, "GET /a/{b}/c", and its parameters.
func fromRoute(key string, params map[string]string) (string, bool) {
	_, template, ok := strings.Cut(key, " ")
	if !ok || !strings.HasPrefix(template, "/") {
		return "", false // "$default"
	}
	segments := strings.Split(template, "/")
	for i, s := range segments {
		name, isParam := strings.CutPrefix(s, "{")
		if !isParam {
			continue
		}
		value, given := params[strings.TrimSuffix(name, "}")]
		if !given {
			return "", false
		}
		segments[i] = url.PathEscape(value)
	}
	return strings.Join(segments, "/"), true
}

// escape leaves an escaped path as it is and escapes the segments that are not.
// The path starts with a slash in any case: it is put behind a host name.
func escape(path string) string {
	segments := strings.Split("/"+strings.TrimPrefix(path, "/"), "/")
	for i, s := range segments {
		if !escaped(s) {
			segments[i] = url.PathEscape(s)
		}
	}
	return strings.Join(segments, "/")
}

func escaped(segment string) bool {
	decoded, err := url.PathUnescape(segment)
	if err != nil || strings.ContainsAny(segment, "?#") {
		return false
	}
	// url.URL accepts RawPath as the spelling of Path only if it is a valid one.
	u := url.URL{Path: decoded, RawPath: segment}
	return u.EscapedPath() == segment
}

// setRequestID names the request as the gateway's log does.
func setRequestID(e *events.APIGatewayV2HTTPRequest) {
	if e.RequestContext.RequestID == "" {
		return
	}
	headers := map[string]string{"x-request-id": e.RequestContext.RequestID}
	for name, value := range e.Headers {
		if !strings.EqualFold(name, "x-request-id") {
			headers[name] = value
		}
	}
	e.Headers = headers
}
