package webhook

import (
	"strings"
	"testing"

	"cloudsession/connector/inbox"
)

// A payload that was too large is said to be missing; a plain text has none, and says nothing of it.
func TestPayloadCut(t *testing.T) {
	for _, cut := range []bool{true, false} {
		_, body, err := encode(sessionID, inbox.Message{ID: "A", PayloadCut: cut})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(string(body), `"payload_cut":true`); got != cut || strings.Contains(string(body), `"payload_cut":false`) {
			t.Errorf("cut %v: %s", cut, body)
		}
	}
}
