package chaos

import "testing"

// Which errors in a log the faults here explain, as the connectors say them.
func TestExpectedErrors(t *testing.T) {
	for message, want := range map[string]bool{
		"whatsmeow: Error reading from websocket: EOF":                                            true,
		"whatsmeow: Failed to send retry receipt for …: websocket not connected":                  true,
		"whatsmeow: Failed to send retry receipt for …: no keys left":                             false,
		"whatsmeow: Error while storing session: sql: database is closed":                         true,
		"whatsmeow: Error while storing session: sql: database is closed, and then something":     false,
		"whatsmeow: Failed to save push name of … in device store: invalid use of deleted device": true,
		"message not taken, it will come again":                                                   true,
		"session not released":                                                                    false,
	} {
		if got := expected.MatchString(message); got != want {
			t.Errorf("%q is expected: %v", message, got)
		}
	}
}
