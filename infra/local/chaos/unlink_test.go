package chaos

import (
	"testing"

	"cloudsession/connector/watest"
)

// What a device had acknowledged when it was unlinked is owed until the
// application is shown it, also when another session has been paired.
func TestOverdue(t *testing.T) {
	l := &line{
		session: "session 0.2",
		owed:    map[string][]watest.Copy{"session 0.1": {{ID: "A"}, {ID: "B"}}},
		shown:   map[string]bool{"session 0.1 A": true, "session 0.2 B": true},
	}
	h := &Harness{lines: []*line{l}}
	if lack := h.lostAtEnd(); lack == nil || !lack.lost || lack.session != "session 0.1" {
		t.Errorf("B was shown for another session: %+v", lack)
	}
	l.shown["session 0.1 B"] = true
	if lack := h.lostAtEnd(); lack != nil {
		t.Errorf("all was shown: %+v", lack)
	}
}
