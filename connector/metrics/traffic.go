package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"cloudsession/connector/whatsapp"
)

// Traffic counts what passes through the sessions. It implements whatsapp.Observer.
type Traffic struct {
	received, sent, refused, repeated prometheus.Counter
	asked, answered, reconnects       prometheus.Counter
	undecryptable                     *prometheus.CounterVec
}

var _ whatsapp.Observer = (*Traffic)(nil)

// Values of the label cause of messages that could not be read.
const (
	causeUndecryptable = "undecryptable"
	causeUnavailable   = "unavailable"
)

func newTraffic(f factory) *Traffic {
	return &Traffic{
		received: f.counter("messages_received_total", "Messages that came in and were new."),
		sent:     f.counter("messages_sent_total", "Messages that the service acknowledged."),
		refused:  f.counter("messages_refused_total", "Messages that were refused for good and will not be sent."),
		repeated: f.counter("message_send_retries_total", "Attempts to send a message again under its id."),
		undecryptable: f.counters("messages_undecryptable_total", "Messages that could not be read and were asked for again.", "cause",
			causeUndecryptable, causeUnavailable),
		asked:      f.counter("retries_asked_total", "Requests of recipients to repeat a message they could not read."),
		answered:   f.counter("retries_answered_total", "Requests of recipients that were met with the message, encrypted anew."),
		reconnects: f.counter("reconnects_total", "Attempts to connect a session after the first of its term."),
	}
}

// Received implements whatsapp.Observer.
func (t *Traffic) Received() { t.received.Inc() }

// Sent implements whatsapp.Observer.
func (t *Traffic) Sent() { t.sent.Inc() }

// Refused implements whatsapp.Observer.
func (t *Traffic) Refused() { t.refused.Inc() }

// Repeated implements whatsapp.Observer.
func (t *Traffic) Repeated() { t.repeated.Inc() }

// Undecryptable implements whatsapp.Observer.
func (t *Traffic) Undecryptable(unavailable bool) {
	cause := causeUndecryptable
	if unavailable {
		cause = causeUnavailable
	}
	t.undecryptable.WithLabelValues(cause).Inc()
}

// RetryAsked implements whatsapp.Observer.
func (t *Traffic) RetryAsked() { t.asked.Inc() }

// RetryAnswered implements whatsapp.Observer.
func (t *Traffic) RetryAnswered() { t.answered.Inc() }

// Reconnecting implements whatsapp.Observer.
func (t *Traffic) Reconnecting() { t.reconnects.Inc() }
