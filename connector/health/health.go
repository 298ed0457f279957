// Package health answers whether a process works (/healthz) and whether it may be
// given work (/readyz). Who asks decides by the status; the body says which
// condition fails, in words that hold nothing secret.
package health

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"
)

// Check is one condition: its name, and what is wrong with it, "" when it holds.
type Check struct{ Name, Problem string }

// Report is the body of an answer.
type Report struct {
	Status  string            `json:"status"`            // "ok" or "failing"
	Failing map[string]string `json:"failing,omitempty"` // what is wrong, by condition
}

// Handler answers 200 while all checks hold and 503 while one doesn't.
func Handler(checks func() []Check) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		report, status := Report{Status: "ok"}, http.StatusOK
		for _, c := range checks() {
			if c.Problem == "" {
				continue
			}
			if report.Failing == nil {
				report.Failing = map[string]string{}
			}
			report.Failing[c.Name] = c.Problem
			report.Status, status = "failing", http.StatusServiceUnavailable
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		// Who asked has gone if this fails, and will ask again.
		_ = json.NewEncoder(w).Encode(report)
	})
}

// Pulse is the sign of life of something that has to come round again and again.
type Pulse struct {
	now func() time.Duration

	mu   sync.Mutex
	last time.Duration
	good time.Duration
}

// NewPulse returns a pulse that has just been felt and is good for a time, by a
// clock that only grows.
func NewPulse(now func() time.Duration, good time.Duration) *Pulse {
	p := &Pulse{now: now}
	p.Beat(good)
	return p
}

// Beat is a sign of life; the next one is due within the given time.
func (p *Pulse) Beat(good time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last, p.good = p.now(), good
}

// Age is the time since the last sign of life.
func (p *Pulse) Age() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now() - p.last
}

// Alive reports whether the next sign of life is not overdue.
func (p *Pulse) Alive() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now()-p.last < p.good
}
