package leakscan

import (
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"cloudsession/infra/local/lambdaemu"
	"cloudsession/infra/local/rig"
	"cloudsession/infra/local/stack"
)

// metrics notes a connector's metrics and what it says of its health.
func (r *run) metrics(c *rig.Connector) {
	r.t.Helper()
	base, err := c.MetricsURL()
	for err != nil { // not said yet
		select {
		case <-r.ctx.Done():
			r.t.Fatal(err)
		case <-time.After(20 * time.Millisecond):
		}
		base, err = c.MetricsURL()
	}
	for _, path := range []string{"/metrics", "/healthz", "/readyz"} {
		request, err := http.NewRequestWithContext(r.ctx, http.MethodGet, base+path, http.NoBody)
		r.must(err)
		request.Close = true
		response, err := http.DefaultClient.Do(request)
		r.must(err)
		body, err := io.ReadAll(response.Body)
		r.must(errors.Join(err, response.Body.Close()))
		if len(body) == 0 {
			r.t.Errorf("%s is empty", path)
		}
		r.seen.add(inMetrics, body)
	}
	r.scraped[c] = true
}

// scrapeAll notes the metrics of the connectors that run. Those that have ended
// were scraped before.
func (r *run) scrapeAll() {
	r.t.Helper()
	for _, c := range r.connectors {
		select {
		case <-c.Done():
		default:
			r.metrics(c)
		}
		if !r.scraped[c] {
			r.t.Errorf("the metrics of connector %s were never looked at", c.ID())
		}
	}
}

// labels is what metrics show of something that is known from elsewhere: no name
// gets into a label, but the program's version is one.
func (r *run) labels() *Scanner {
	r.t.Helper()
	out, err := r.connectors[0].Command(r.ctx, "version").Output()
	r.must(err)
	s := new(Scanner)
	s.Add("the version", []byte(`version="`+strings.TrimSpace(string(out))+`"`))
	return s
}

// watch runs the function that has no route and publishes metrics.
func (r *run) watch() error {
	r.t.Helper()
	binary, err := stack.Bootstrap("watch-connectors")
	r.must(err)
	event, err := os.ReadFile(filepath.Join("..", "..", "events", "watch.json"))
	r.must(err)
	c := r.rig.Stack.StoreConfig()
	host, err := lambdaemu.New(lambdaemu.Options{
		Out: log{&r.seen, inWatch}, InitTimeout: 2 * time.Minute,
		Functions: []lambdaemu.Function{{Name: "watch-connectors", Binary: binary, Env: []string{
			"TIDB_HOST=" + c.Host, "TIDB_PORT=" + strconv.Itoa(c.Port), "TIDB_USER=" + c.User, "TIDB_PASSWORD=" + c.Password,
			"TIDB_DATABASE=" + c.Database, "DEPLOYMENT=" + r.deployment,
		}}},
	})
	r.must(err)
	defer host.Close()
	_, err = host.Invoke(r.ctx, "watch-connectors", event)
	if err != nil {
		r.seen.add(inWatch, []byte(err.Error())) // which Lambda logs
	}
	return err
}
