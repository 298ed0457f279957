package metrics

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"cloudsession/connector/manager"
	"cloudsession/connector/webhook"
	"cloudsession/connector/whatsapp"
)

// Sources is where the metrics that show a state are read from, at each scrape.
type Sources struct {
	Overview  func() manager.Overview
	Lease     Lease
	Heartbeat func() time.Duration    // age of the last heartbeat
	Webhook   func() webhook.Counters // nil without a webhook: its metrics stay at zero
}

// Lease is what is shown of a connector's lease: *ownership.Lease.
type Lease interface {
	Remaining() time.Duration
	Answered() bool
}

// Watch lets the metrics show the state of a connector that has started.
func (m *Metrics) Watch(s Sources) {
	if s.Webhook == nil {
		s.Webhook = func() webhook.Counters { return webhook.Counters{} }
	}
	m.state.sources.Store(&s)
}

// state reads the sources when it is collected.
type state struct {
	sources  atomic.Pointer[Sources]
	sessions *prometheus.Desc
	values   []value
}

// value is a metric without labels that is read at each scrape.
type value struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(*reading) float64
}

// reading is one look at the sources.
type reading struct {
	manager.Overview
	webhook.Counters
	sources *Sources
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
}

func newState() *state {
	s := &state{sessions: describe("sessions", "Sessions held, by what they are doing.", "state")}
	add := func(kind prometheus.ValueType, name, help string, read func(*reading) float64) {
		s.values = append(s.values, value{describe(name, help), kind, read})
	}
	const gauge, counter = prometheus.GaugeValue, prometheus.CounterValue
	add(gauge, "session_capacity", "How many sessions this connector holds at most.",
		func(r *reading) float64 { return float64(r.Load.Capacity) })
	add(gauge, "draining", "1 while this connector hands its sessions over and takes none.",
		func(r *reading) float64 { return truth(r.Load.Draining) })
	add(gauge, "sessions_unprotected", "Sessions whose messages are acknowledged before TiDB has them, because it does not answer in time.",
		func(r *reading) float64 { return float64(r.Unprotected) })
	add(gauge, "sync_lag_seconds", "Age of the oldest change of any session held here that is not durable in TiDB.",
		func(r *reading) float64 { return r.Load.SyncLag.Seconds() })
	add(gauge, "sends_unfinished", "Messages accepted for sending whose outcome is not known.",
		func(r *reading) float64 { return float64(r.OpenSends) })
	add(gauge, "sends_unfinished_age_seconds", "Age of the oldest message accepted for sending whose outcome is not known.",
		func(r *reading) float64 { return r.OldestSend.Seconds() })
	add(gauge, "lease_remaining_seconds", "How long this connector's lease still runs, by the boot-time clock.",
		func(r *reading) float64 { return r.sources.Lease.Remaining().Seconds() })
	add(gauge, "tidb_up", "1 if TiDB granted the last renewal of the lease.",
		func(r *reading) float64 { return truth(r.sources.Lease.Answered()) })
	add(gauge, "heartbeat_age_seconds", "Time since the heartbeat loop last ran, by the boot-time clock.",
		func(r *reading) float64 { return r.sources.Heartbeat().Seconds() })
	add(gauge, "webhook_waiting", "Messages known to wait for delivery to the application.",
		func(r *reading) float64 { return float64(r.Waiting) })
	add(gauge, "webhook_failing_chats", "Chats whose next message was not taken at the last attempt.",
		func(r *reading) float64 { return float64(r.Failing) })
	add(counter, "webhook_deliveries_total", "Messages that the application has taken.",
		func(r *reading) float64 { return float64(r.Delivered) })
	add(counter, "webhook_failures_total", "Attempts at a delivery that failed.",
		func(r *reading) float64 { return float64(r.Failed) })
	add(counter, "webhook_expired_total", "Chats' next messages that were too many and too old to be kept.",
		func(r *reading) float64 { return float64(r.Expired) })
	return s
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Describe implements prometheus.Collector.
func (s *state) Describe(to chan<- *prometheus.Desc) {
	to <- s.sessions
	for _, v := range s.values {
		to <- v.desc
	}
}

// Collect implements prometheus.Collector.
func (s *state) Collect(to chan<- prometheus.Metric) {
	sources := s.sources.Load()
	if sources == nil {
		return
	}
	r := reading{Overview: sources.Overview(), Counters: sources.Webhook(), sources: sources}
	for _, v := range s.values {
		to <- prometheus.MustNewConstMetric(v.desc, v.kind, v.read(&r))
	}
	for _, state := range whatsapp.States() { // each of them, so that one that empties shows as 0
		to <- prometheus.MustNewConstMetric(s.sessions, prometheus.GaugeValue, float64(r.States[string(state)]), string(state))
	}
}
