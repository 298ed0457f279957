// Package metrics counts what a connector does, for Prometheus. The packages that
// do the work know nothing of it: each has an observer beside its code, and this
// package is all of them. README.md lists every metric; no label ever holds a
// session id, a phone number or anything else without a bound.
package metrics

import (
	"net/http"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// namespace is the first part of every metric of the connector's own.
const namespace = "cloudsession"

// Metrics are one connector's. New makes it.
type Metrics struct {
	// Replication observes pushes: replicate.Options.Observer.
	Replication *Replication
	// Sessions observes sessions and commands: manager.Options.Observer.
	Sessions *Sessions
	// Traffic observes messages: manager.Options.Traffic.
	Traffic *Traffic

	statements *statements
	queue      *queueErrors
	state      *state
	registry   *prometheus.Registry
}

// New returns the metrics of a connector of this version, all of them at zero, on
// a registry of their own. What Watch shows is missing until Watch is called.
func New(version string) *Metrics {
	f := factory{prometheus.NewRegistry()}
	m := &Metrics{
		Replication: newReplication(f), Sessions: newSessions(f), Traffic: newTraffic(f),
		statements: newStatements(f), queue: newQueueErrors(f), state: newState(), registry: f.Registry,
	}
	f.MustRegister(m.state, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	f.gauges("build_info", "Always 1; the labels say what runs.", "version", "goversion").
		WithLabelValues(version, runtime.Version()).Set(1)
	return m
}

// Handler serves the metrics in Prometheus' formats.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// factory makes registered metrics.
type factory struct{ *prometheus.Registry }

func (f factory) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help})
	f.MustRegister(c)
	return c
}

// counters makes a counter with one label, at zero for each of its values: a rate
// needs a counter that was there before the first event.
func (f factory) counters(name, help, label string, values ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, []string{label})
	f.MustRegister(c)
	for _, v := range values {
		c.WithLabelValues(v)
	}
	return c
}

func (f factory) gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, labels)
	f.MustRegister(g)
	return g
}

func (f factory) histogram(name, help string, buckets []float64) prometheus.Histogram {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets})
	f.MustRegister(h)
	return h
}

func (f factory) histograms(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets}, labels)
	f.MustRegister(h)
	return h
}
