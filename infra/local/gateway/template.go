package gateway

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// A Route leads requests to a function.
type Route struct {
	// Method is upper case, or "ANY".
	Method string
	// Path may hold parameters, each a whole segment: "/cloud/sessions/{sessionId}".
	Path string
	// Function is the folder under functions/.
	Function string
	// Timeout is the function's; zero if the template leaves it to Lambda's default.
	Timeout time.Duration
}

// key is how API Gateway names the route.
func (r Route) key() string { return r.Method + " " + r.Path }

// ReadTemplate takes the routes from a SAM template: from every HttpApi event
// of every AWS::Serverless::Function. The function's name is its Handler
// (provided runtimes don't use it otherwise) or, if that is only "bootstrap",
// the last part of CodeUri.
func ReadTemplate(file string) ([]Route, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read routes: %w", err)
	}
	routes, err := parseTemplate(text)
	if err != nil {
		return nil, fmt.Errorf("read routes from %s: %w", file, err)
	}
	return routes, nil
}

type functionProperties struct {
	Handler string               `yaml:"Handler"`
	CodeURI string               `yaml:"CodeUri"`
	Timeout int                  `yaml:"Timeout"` // seconds
	Events  map[string]httpEvent `yaml:"Events"`
}

type httpEvent struct {
	Type       string    `yaml:"Type"`
	Properties yaml.Node `yaml:"Properties"` // other events have other properties
}

func parseTemplate(text []byte) ([]Route, error) {
	var t struct {
		Resources map[string]struct {
			Type       string    `yaml:"Type"`
			Properties yaml.Node `yaml:"Properties"`
		} `yaml:"Resources"`
	}
	if err := yaml.Unmarshal(text, &t); err != nil {
		return nil, err
	}
	var routes []Route
	for _, name := range slices.Sorted(maps.Keys(t.Resources)) {
		r := t.Resources[name]
		if r.Type != "AWS::Serverless::Function" {
			continue
		}
		var f functionProperties
		if err := r.Properties.Decode(&f); err != nil {
			return nil, fmt.Errorf("resource %s: %w", name, err)
		}
		more, err := f.routes()
		if err != nil {
			return nil, fmt.Errorf("resource %s: %w", name, err)
		}
		routes = append(routes, more...)
	}
	return routes, check(routes)
}

func (f functionProperties) routes() (routes []Route, err error) {
	function := f.Handler
	if function == "" || function == "bootstrap" {
		function = path.Base(f.CodeURI)
	}
	if function == "" || function == "." || function == "/" {
		return nil, errors.New("neither Handler nor CodeUri names the function's folder")
	}
	for _, name := range slices.Sorted(maps.Keys(f.Events)) {
		e := f.Events[name]
		if e.Type != "HttpApi" {
			continue
		}
		var p struct {
			Method string `yaml:"Method"`
			Path   string `yaml:"Path"`
		}
		if err := e.Properties.Decode(&p); err != nil {
			return nil, fmt.Errorf("event %s: %w", name, err)
		}
		routes = append(routes, Route{
			Method: strings.ToUpper(p.Method), Path: p.Path, Function: function,
			Timeout: time.Duration(f.Timeout) * time.Second,
		})
	}
	return routes, nil
}

// check refuses what the gateway does not emulate, and two routes that are one.
func check(routes []Route) error {
	if len(routes) == 0 {
		return errors.New("no function has an HttpApi event")
	}
	seen := map[string]bool{}
	for _, r := range routes {
		switch {
		case r.Method == "" || !strings.HasPrefix(r.Path, "/"):
			return fmt.Errorf("route %q: $default and paths without / are not emulated", r.key())
		case strings.Contains(r.Path, "+}"):
			return fmt.Errorf("route %q: greedy parameters are not emulated", r.key())
		case seen[r.key()]:
			return fmt.Errorf("route %q stands there twice", r.key())
		}
		seen[r.key()] = true
	}
	return nil
}
