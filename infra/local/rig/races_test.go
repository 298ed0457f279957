package rig

import (
	"strings"
	"testing"
)

func TestOwnRaces(t *testing.T) {
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
	if n := len(OwnRaces(theirs)); n != 0 {
		t.Errorf("%d races of whatsmeow counted as ours", n)
	}
	if n := len(OwnRaces("some line\n" + ours + theirs)); n != 1 {
		t.Errorf("%d races found, want 1", n)
	}
}
