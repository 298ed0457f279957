package rig

import "strings"

// OwnRaces finds the race detector's reports in processes' logs, when the
// connector was built with it, and returns those in which our own code reads or
// writes. whatsmeow has races of its own (such as Event.GetChan, when a send
// meets a reconnect), which would fail a run at random.
func OwnRaces(log string) (races []string) {
	for _, part := range strings.Split(log, "WARNING: DATA RACE")[1:] {
		report, _, _ := strings.Cut(part, "==================")
		if accessedByUs(report) {
			races = append(races, report)
		}
	}
	return races
}

// accessedByUs reports whether the innermost frame of one of the two accesses
// is in this module.
func accessedByUs(report string) bool {
	lines := strings.Split(report, "\n")
	for i, line := range lines {
		access := strings.TrimSpace(line)
		for _, kind := range []string{"Read at ", "Write at ", "Previous read at ", "Previous write at ", "Atomic", "Previous atomic"} {
			if strings.HasPrefix(access, kind) && i+1 < len(lines) &&
				strings.HasPrefix(strings.TrimSpace(lines[i+1]), "cloudsession/") {
				return true
			}
		}
	}
	return false
}
