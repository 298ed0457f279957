package api

import (
	"cmp"
	"net/http"
	"time"

	"cloudsession/functions/emf"
)

// wait is how long a request waited for its command, and whether that was enough.
type wait struct {
	took     time.Duration
	finished bool
}

// measure publishes one request. Besides Deployment it has the dimension Route,
// a route's name or "none" where none matched: who called, and for which
// session, is for the log.
//
//	Requests         Count         1
//	Errors5xx        Count         1 if it was answered 5xx, else 0
//	Latency          Milliseconds  until it was answered
//	CommandLatency   Milliseconds  sync and restore: until the command was seen finished
//	CommandsPending  Count         sync and restore: 1 if it was not, and 202 the answer, else 0
func (h *Handler) measure(r *request, res response, took time.Duration) {
	failed := 0.0
	if res.status >= http.StatusInternalServerError {
		failed = 1
	}
	metrics := []emf.Metric{
		{Name: "Requests", Unit: emf.Count, Value: 1},
		{Name: "Errors5xx", Unit: emf.Count, Value: failed},
		{Name: "Latency", Unit: emf.Milliseconds, Value: milliseconds(took)},
	}
	switch {
	case r.waited == nil:
	case r.waited.finished:
		metrics = append(metrics,
			emf.Metric{Name: "CommandLatency", Unit: emf.Milliseconds, Value: milliseconds(r.waited.took)},
			emf.Metric{Name: "CommandsPending", Unit: emf.Count, Value: 0})
	default:
		metrics = append(metrics, emf.Metric{Name: "CommandsPending", Unit: emf.Count, Value: 1})
	}
	err := h.metrics.Put(time.Now(), metrics, emf.Dimension{Name: "Route", Value: cmp.Or(r.route.Name, "none")})
	if err != nil {
		h.log.ErrorContext(r.Context(), "publish metrics", "request_id", r.id, "error", err)
	}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
