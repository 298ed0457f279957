package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// ownRaces finds the race detector's reports in the processes' logs, when the
// connector was built with it, and returns those in which our own code reads or
// writes. whatsmeow has races of its own (such as Event.GetChan, when a send
// meets a reconnect), which would fail a run at random.
func ownRaces(logFile string) (races []string, err error) {
	log, err := os.ReadFile(logFile)
	if err != nil {
		return nil, fmt.Errorf("read log: %w", err)
	}
	return racesIn(string(log)), nil
}

func racesIn(log string) (races []string) {
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

func TestRacesIn(t *testing.T) {
	const theirs = `
==================
WARNING: DATA RACE
Write at 0x00c0001 by goroutine 7:
  go.mau.fi/util/exsync.(*Event).GetChan()
      event.go:50 +0x44
  cloudsession/connector/whatsapp.(*Session).Send()
      send.go:9 +0x44

Previous read at 0x00c0001 by goroutine 8:
  go.mau.fi/util/exsync.(*Event).Set()
      event.go:40 +0x44
==================
`
	ours := strings.Replace(theirs, "go.mau.fi/util/exsync.(*Event).Set()", "cloudsession/connector/manager.(*session).current()", 1)
	if n := len(racesIn(theirs)); n != 0 {
		t.Errorf("%d races of whatsmeow counted as ours", n)
	}
	if n := len(racesIn("some line\n" + ours + theirs)); n != 1 {
		t.Errorf("%d races found, want 1", n)
	}
}
