package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"cloudsession/connector/manager"
	"cloudsession/connector/replicate"
	"cloudsession/connector/whatsapp"
	"cloudsession/shared/cloudstore"
)

// Sessions counts what becomes of sessions and commands. It implements
// manager.Observer.
type Sessions struct {
	taken, lost, ended *prometheus.CounterVec
	handoffs, replaced prometheus.Counter
	restores           *prometheus.HistogramVec
	acknowledgements   *prometheus.HistogramVec
	commands           *prometheus.HistogramVec
	commandErrors      *prometheus.CounterVec
}

var _ manager.Observer = (*Sessions)(nil)

// Values of the label outcome of commands.
const (
	outcomeDone     = "done"
	outcomeHandedOn = "handed_on"
	outcomeFailed   = "failed"
)

// other stands for a label's value that this version doesn't know.
const other = "other"

func newSessions(f factory) *Sessions {
	s := &Sessions{
		taken: f.counters("epochs_taken_total", "Epochs taken, by how the term started.", "start",
			replicate.StartExact, replicate.StartOwnFile, replicate.StartSafe, replicate.StartNew),
		lost:     f.counters("sessions_lost_total", "Sessions that turned out not to be this connector's any more.", "reason", texts(manager.Losses())...),
		ended:    f.counters("sessions_ended_total", "Sessions that ended for good or for a ban, by their state.", "state", endings()...),
		handoffs: f.counter("handoffs_total", "Sessions closed exactly for another connector."),
		replaced: f.counter("sessions_replaced_total", "Times that another client logged in with the keys of a session held here."),
		restores: f.histograms("restore_duration_seconds", "Time from the take of a session until its file, built from the cloud, is ready to connect.",
			[]float64{.01, .025, .05, .1, .15, .25, .5, 1, 2.5, 5, 10, 30}, "start"),
		acknowledgements: f.histograms("acknowledgement_wait_seconds", "Time that the acknowledgement of an incoming message was held back, by what it rests on.",
			[]float64{.005, .01, .025, .05, .1, .25, .5, 1, 1.5, 2, 3}, "by"),
		commands: f.histograms("command_duration_seconds", "Time from the claim of a command to its outcome.",
			[]float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20, 60}, "kind", "outcome"),
		commandErrors: f.counters("command_errors_total", "Commands that failed, by the code in their rows.", "code", manager.Codes()...),
	}
	for _, start := range []string{replicate.StartExact, replicate.StartSafe} {
		s.restores.WithLabelValues(start)
	}
	for _, by := range manager.Assurances() {
		s.acknowledgements.WithLabelValues(string(by))
	}
	for _, kind := range []string{cloudstore.CommandSync, cloudstore.CommandRestore, cloudstore.CommandRekey, other} {
		for _, outcome := range []string{outcomeDone, outcomeHandedOn, outcomeFailed} {
			s.commands.WithLabelValues(kind, outcome)
		}
	}
	return s
}

func texts[T ~string](list []T) []string {
	all := make([]string, len(list))
	for i, t := range list {
		all[i] = string(t)
	}
	return all
}

// endings are the states that end a session. Of a replaced one sessions_replaced_total tells.
func endings() []string {
	list := []string{string(manager.StateContested)}
	for _, s := range whatsapp.States() {
		if s.Final() && s != whatsapp.StateReplaced {
			list = append(list, string(s))
		}
	}
	return list
}

// Taken implements manager.Observer.
func (s *Sessions) Taken(start string) { s.taken.WithLabelValues(start).Inc() }

// Loaded implements manager.Observer.
func (s *Sessions) Loaded(start string, took time.Duration) {
	s.restores.WithLabelValues(start).Observe(took.Seconds())
}

// HandedOver implements manager.Observer.
func (s *Sessions) HandedOver() { s.handoffs.Inc() }

// Lost implements manager.Observer.
func (s *Sessions) Lost(why manager.Loss) { s.lost.WithLabelValues(string(why)).Inc() }

// Replaced implements manager.Observer.
func (s *Sessions) Replaced() { s.replaced.Inc() }

// Ended implements manager.Observer.
func (s *Sessions) Ended(state string) { s.ended.WithLabelValues(state).Inc() }

// Acknowledged implements manager.Observer.
func (s *Sessions) Acknowledged(by manager.Assurance, waited time.Duration) {
	s.acknowledgements.WithLabelValues(string(by)).Observe(waited.Seconds())
}

// Command implements manager.Observer.
func (s *Sessions) Command(kind, code string, took time.Duration) {
	switch kind {
	case cloudstore.CommandSync, cloudstore.CommandRestore, cloudstore.CommandRekey:
	default: // from the table, where a later version's may stand
		kind = other
	}
	outcome := outcomeFailed
	switch code {
	case "":
		outcome = outcomeDone
	case manager.CodeHandedOn:
		outcome = outcomeHandedOn
	default:
		s.commandErrors.WithLabelValues(code).Inc()
	}
	s.commands.WithLabelValues(kind, outcome).Observe(took.Seconds())
}
