package gateway

import (
	"net/url"
	"strings"
)

// match finds the route for a request: a literal segment before a parameter,
// the method's own route before ANY. path is the escaped path, so that a "%2F"
// is part of a segment. Parameters are decoded once.
func match(routes []Route, method, path string) (best Route, params map[string]string, ok bool) {
	for _, r := range routes {
		if r.Method != method && r.Method != "ANY" {
			continue
		}
		p, fits := matchPath(r.Path, path)
		if fits && (!ok || before(r, best)) {
			best, params, ok = r, p, true
		}
	}
	return best, params, ok
}

func matchPath(template, path string) (map[string]string, bool) {
	want, got := strings.Split(template, "/"), strings.Split(path, "/")
	if len(want) != len(got) {
		return nil, false
	}
	params := map[string]string{}
	for i, segment := range want {
		name, isParam := parameter(segment)
		value, err := url.PathUnescape(got[i])
		switch {
		case err != nil, isParam && value == "", !isParam && value != segment:
			return nil, false
		case isParam:
			params[name] = value
		}
	}
	return params, true
}

func parameter(segment string) (name string, ok bool) {
	name, ok = strings.CutPrefix(segment, "{")
	return strings.TrimSuffix(name, "}"), ok
}

// before reports whether a is the more special of two routes that both fit.
func before(a, b Route) bool {
	as, bs := strings.Split(a.Path, "/"), strings.Split(b.Path, "/")
	for i := range as {
		_, ap := parameter(as[i])
		_, bp := parameter(bs[i])
		if ap != bp {
			return bp
		}
	}
	return b.Method == "ANY" && a.Method != "ANY"
}
