package rekey

import (
	"errors"
	"strings"
	"testing"

	"cloudsession/shared/envelope"
)

// A command names the secret to seal with; a connector with another current one
// refuses it, also if it has the right one among the previous.
func TestCheck(t *testing.T) {
	keyring := func(current string, previous ...string) *envelope.Keyring {
		keys, err := envelope.NewKeyring(current, previous...)
		if err != nil {
			t.Fatal(err)
		}
		return keys
	}
	a, b := strings.Repeat("a", 32), strings.Repeat("b", 32)
	args := Args(keyring(b), "personal")
	if err := Check(keyring(b, a), "personal", args); err != nil {
		t.Errorf("the right secret: %v", err)
	}
	if err := Check(keyring(a, b), "personal", args); !errors.Is(err, ErrOtherSecret) {
		t.Errorf("another current secret: %v", err)
	}
	if err := Check(keyring(b), "business", args); !errors.Is(err, ErrOtherSecret) {
		t.Errorf("another session: %v", err)
	}
	if err := Check(keyring(b), "personal", []byte("{")); err == nil || errors.Is(err, ErrOtherSecret) {
		t.Errorf("no arguments: %v", err)
	}
}
