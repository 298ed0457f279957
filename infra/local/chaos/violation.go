package chaos

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// Violation is a promise that was broken.
type Violation struct {
	Invariant string // I1 to I7, as in DESIGN.md
	Session   string // empty if it is not one session's
	Detail    string
	Schedule  Schedule      // the one under way
	At        time.Duration // since the run began
	Journal   []string      // what was done in this schedule, with times
	Ledger    string        // the session's rows and sockets, where there is a session
	Logs      string        // the folder of the processes' logs
}

// Error is the whole story.
func (v *Violation) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s broken at %.1fs, seed %s", v.Invariant, v.At.Seconds(), v.Schedule.replay())
	if v.Session != "" {
		fmt.Fprintf(&b, ", %s", v.Session)
	}
	fmt.Fprintf(&b, ": %s\n\n%v\nwhat was done:\n", v.Detail, v.Schedule)
	for _, line := range v.Journal {
		fmt.Fprintf(&b, "  %s\n", line)
	}
	if v.Ledger != "" {
		fmt.Fprintf(&b, "\n%s", v.Ledger)
	}
	fmt.Fprintf(&b, "\nlogs: %s\nplay the schedule again: make chaos SEED=%s DURATION=1s", v.Logs, v.Schedule.replay())
	return b.String()
}

// violation makes a Violation of this moment.
func (h *Harness) violation(invariant, session, format string, args ...any) error {
	v := &Violation{
		Invariant: invariant, Session: session, Detail: fmt.Sprintf(format, args...),
		At: time.Since(h.began), Logs: filepath.Join(h.dir, "logs"),
	}
	if session != "" {
		v.Ledger = h.ledger(session)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	v.Schedule = h.current
	const most = 120
	v.Journal = h.journal[max(0, len(h.journal)-most):]
	return v
}
