package api

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Route is one route of the API. Name is also the folder of its Lambda
// function under functions/.
type Route struct {
	Name   string
	Method string
	Path   string   // with the parameter in braces, as in openapi.yaml and template.yaml
	Scopes []string // any one of these admits the caller

	needs need
	serve func(*Handler, *request) (response, error)
}

// need is a set of what a route cannot work without.
type need uint8

const (
	needSessions need = 1 << iota
	needCommands
	needQueue
)

// Routes lists the routes of the API.
func Routes() []Route {
	read, write := []string{ScopeRead}, []string{ScopeWrite}
	return []Route{
		{"list-sessions", http.MethodGet, "/cloud/sessions", read, needSessions, (*Handler).listSessions},
		{"session-status", http.MethodGet, "/cloud/sessions/{sessionId}/status", read, needSessions, (*Handler).sessionStatus},
		{"sync-session", http.MethodPost, "/cloud/sessions/{sessionId}/sync", write, needSessions | needCommands | needQueue, (*Handler).syncSession},
		{"restore-session", http.MethodPost, "/cloud/sessions/{sessionId}/restore", write, needSessions | needCommands | needQueue, (*Handler).restoreSession},
		{"delete-session", http.MethodDelete, "/cloud/sessions/{sessionId}", write, needSessions, (*Handler).deleteSession},
		// Whoever may give a command may see how it went.
		{"command-status", http.MethodGet, "/cloud/commands/{commandId}", []string{ScopeRead, ScopeWrite}, needCommands, (*Handler).commandStatus},
	}
}

// match finds the request's route and parameter, or a 404 or 405.
func (h *Handler) match(r *request) error {
	var allowed []string
	for _, route := range h.routes {
		param, ok, err := matchPath(route.Path, r.URL.EscapedPath())
		if err != nil {
			return badPath
		}
		if !ok {
			continue
		}
		if route.Method == r.Method {
			r.route, r.param = route, param
			return nil
		}
		allowed = append(allowed, route.Method)
	}
	if len(allowed) == 0 {
		return noRoute
	}
	slices.Sort(allowed)
	return methodNotAllowed.with("Allow", strings.Join(allowed, ", "))
}

// matchPath compares an escaped path with a pattern segment by segment and
// returns the parameter decoded once. It neither cleans the path nor redirects,
// as http.ServeMux would: "..", "%2F" and spaces are text of a session id like
// any other. An empty parameter does not match.
func matchPath(pattern, escaped string) (param string, ok bool, err error) {
	want, got := strings.Split(pattern, "/"), strings.Split(escaped, "/")
	if len(want) != len(got) {
		return "", false, nil
	}
	for i, w := range want {
		if !strings.HasPrefix(w, "{") {
			if w != got[i] {
				return "", false, nil
			}
			continue
		}
		param = got[i]
	}
	if param == "" {
		return "", !strings.Contains(pattern, "{"), nil
	}
	param, err = url.PathUnescape(param)
	return param, err == nil, err
}
