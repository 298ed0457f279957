package chaos

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"cloudsession/connector/watest"
)

// Report is what a run went through.
type Report struct {
	Took      time.Duration
	Schedules int
	Faults    map[Kind]int
	Skipped   int            // actions that found another one at work
	Starts    int            // of connector processes
	Exits     int            // that they took by themselves
	ToApp     int            // messages shown to the applications
	FromApp   int            // messages acknowledged to them
	Tries     int            // sends they made for those
	Repeats   int            // messages delivered to an application again, under the same key
	Excused   map[string]int // messages that are missing and may be, by reason
	Revived   int            // rows of a deleted log that late statements brought back until the next sync, at most
	Service   watest.Counters
	Terms     map[string]int  // epochs by start
	Handoffs  int             // sealed terms that another connector went on from
	Gaps      []time.Duration // without a socket, sorted
	Settle    []time.Duration // quiet moments, sorted
	Compared  int             // sessions whose cloud state was compared with the owner's
	Errors    map[string]int  // ERROR lines in the connectors' logs, by message
}

func (h *Harness) report() *Report {
	h.mu.Lock()
	r := &Report{
		Took: time.Since(h.began), Schedules: h.count.schedules, Faults: maps.Clone(h.count.kinds), Skipped: h.count.skipped,
		Starts: int(h.count.starts.Load()), Exits: int(h.count.exits.Load()), ToApp: int(h.count.read.Load()),
		Tries: int(h.count.sendTries.Load()), Repeats: int(h.count.repeats.Load()),
		Settle: slices.Sorted(slices.Values(h.count.settle)), Compared: h.count.compared, Revived: h.count.revived, Errors: h.logs.errors,
	}
	h.mu.Unlock()
	for _, l := range h.lines {
		l.mu.Lock()
		r.FromApp += len(l.sent)
		l.mu.Unlock()
	}
	r.Excused = h.excused()
	r.Service = h.rig.WhatsApp.Counters()
	for _, gap := range h.rig.WhatsApp.Gaps(nil) {
		r.Gaps = append(r.Gaps, gap.Until.Sub(gap.From))
	}
	slices.Sort(r.Gaps)
	r.Terms, r.Handoffs = h.terms()
	return r
}

// terms counts the epochs by start, and those that went on exactly from another
// connector's.
func (h *Harness) terms() (terms map[string]int, handoffs int) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(h.ctx), 10*time.Second)
	defer cancel()
	terms = map[string]int{}
	rows, err := h.db.QueryContext(ctx, `SELECT e.start, COUNT(*), SUM(p.connector_id IS NOT NULL AND p.connector_id <> e.connector_id)
		FROM session_epochs e LEFT JOIN session_epochs p ON p.session_id = e.session_id AND p.epoch = e.parent_epoch GROUP BY e.start`)
	if err != nil {
		return terms, 0 // the run ends anyway, for a reason of its own
	}
	defer rows.Close() //nolint:errcheck // it is only a report
	for rows.Next() {
		var start string
		var n, moved int
		if rows.Scan(&start, &n, &moved) == nil {
			terms[start] = n
			if start == "exact" {
				handoffs = moved
			}
		}
	}
	if rows.Err() != nil {
		return terms, handoffs
	}
	return terms, handoffs
}

// Text writes the report for people.
func (r *Report) Text(w io.Writer) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	kinds := slices.SortedFunc(maps.Keys(r.Faults), func(x, y Kind) int { return strings.Compare(string(x), string(y)) })
	total := 0
	var faults []string
	for _, k := range kinds {
		total += r.Faults[k]
		faults = append(faults, fmt.Sprintf("%s %d", k, r.Faults[k]))
	}
	fmt.Fprintf(out, "ran\t%s, %d schedules, %d sessions compared with their cloud copies\n", r.Took.Round(time.Second), r.Schedules, r.Compared)
	fmt.Fprintf(out, "faults\t%d (%d skipped): %s\n", total, r.Skipped, strings.Join(faults, ", "))
	fmt.Fprintf(out, "connectors\t%d started, %d ended by themselves\n", r.Starts, r.Exits)
	fmt.Fprintf(out, "messages\t%d to applications (%d delivered again under the same key), %d from them (%d tries)\n",
		r.ToApp, r.Repeats, r.FromApp, r.Tries)
	fmt.Fprintf(out, "service\t%d messages accepted, %d copies sent again on request, %d logins, %d sockets replaced\n",
		r.Service.Accepted, r.Service.Repeated, r.Service.Logins, r.Service.Replaced)
	var terms []string
	for _, start := range slices.Sorted(maps.Keys(r.Terms)) {
		terms = append(terms, fmt.Sprintf("%s %d", start, r.Terms[start]))
	}
	fmt.Fprintf(out, "terms\t%s; %d handed over exactly\n", strings.Join(terms, ", "), r.Handoffs)
	fmt.Fprintf(out, "gaps without a socket\t%d, p50 %s, max %s\n", len(r.Gaps), middle(r.Gaps), last(r.Gaps))
	fmt.Fprintf(out, "whole again after the faults\tp50 %s, max %s\n", middle(r.Settle), last(r.Settle))
	for _, why := range slices.Sorted(maps.Keys(r.Excused)) {
		fmt.Fprintf(out, "missing, and may be\t%d × %s\n", r.Excused[why], why)
	}
	if r.Revived > 0 {
		fmt.Fprintf(out, "back after DELETE\tup to %d rows that late statements wrote, until the next sync\n", r.Revived)
	}
	for _, msg := range slices.Sorted(maps.Keys(r.Errors)) {
		fmt.Fprintf(out, "logged as an error\t%d × %s\n", r.Errors[msg], msg)
	}
	return out.Flush()
}

func middle(sorted []time.Duration) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[len(sorted)/2].Round(time.Millisecond)
}

func last(sorted []time.Duration) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[len(sorted)-1].Round(time.Millisecond)
}
