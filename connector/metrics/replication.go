package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"cloudsession/connector/replicate"
)

// Replication counts pushes. It implements replicate.Observer.
type Replication struct {
	durable        prometheus.Histogram
	pushes, bytes  *prometheus.CounterVec
	compactions    prometheus.Counter
	retries        prometheus.Counter
	fenced         prometheus.Counter
	rows, sentSize prometheus.Histogram
}

var _ replicate.Observer = (*Replication)(nil)

// Values of the label kind of pushes.
const (
	kindBase  = "base"
	kindDelta = "delta"
)

func newReplication(f factory) *Replication {
	return &Replication{
		durable: f.histogram("change_durable_seconds", "Time from the oldest change of a push to its being durable in TiDB.",
			[]float64{.05, .1, .2, .25, .3, .4, .5, .75, 1, 1.5, 2, 3, 5, 10, 30, 60, 300}),
		pushes:      f.counters("pushes_total", "Pushes that became durable.", "kind", kindBase, kindDelta),
		bytes:       f.counters("pushed_bytes_total", "Sealed bytes of the pushes that became durable.", "kind", kindBase, kindDelta),
		compactions: f.counter("compactions_total", "Bases pushed because the deltas outweighed the last one."),
		retries:     f.counter("push_retries_total", "Times that the same bytes were sent again because their outcome was unknown."),
		fenced:      f.counter("fenced_writes_total", "Writes that a log refused because its term has ended elsewhere."),
		rows: f.histogram("push_statement_rows", "Log rows of one statement, of many sessions together.",
			prometheus.ExponentialBuckets(1, 2, 10)),
		sentSize: f.histogram("push_statement_bytes", "Sealed bytes of one statement, of many sessions together.",
			prometheus.ExponentialBuckets(1<<10, 4, 7)),
	}
}

// Pushed implements replicate.Observer.
func (r *Replication) Pushed(p replicate.Pushed) {
	kind := kindDelta
	if p.Base {
		kind = kindBase
	}
	r.pushes.WithLabelValues(kind).Inc()
	r.bytes.WithLabelValues(kind).Add(float64(p.Bytes))
	r.durable.Observe(p.Waited.Seconds())
	if p.Compaction {
		r.compactions.Inc()
	}
}

// Wrote implements replicate.Observer.
func (r *Replication) Wrote(s replicate.Statement) {
	r.rows.Observe(float64(s.Rows))
	r.sentSize.Observe(float64(s.Bytes))
}

// Resent implements replicate.Observer.
func (r *Replication) Resent() { r.retries.Inc() }

// Fenced implements replicate.Observer.
func (r *Replication) Fenced() { r.fenced.Inc() }
