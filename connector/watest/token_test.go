package watest_test

import (
	"testing"
	"time"
)

func TestPrivacyToken(t *testing.T) {
	s, addr := service(t)
	alice, bob := newPhone(t, s, "6281111111111", "Alice"), newPhone(t, s, "6282222222222", "Bob")
	c := pairQR(t, addr, alice)
	if err := bob.SendPrivacyToken(alice.PN()); err != nil {
		t.Fatal(err)
	}
	waitFor(t, s, "the device acknowledges it", func() bool { return s.Device(*c.Store.ID).Queued == 0 })
	// whatsmeow acknowledges a notification while it handles it.
	deadline := time.Now().Add(patience)
	for {
		token, err := c.Store.PrivacyTokens.GetPrivacyToken(t.Context(), bob.LID())
		switch {
		case err != nil:
			t.Fatal(err)
		case token != nil && len(token.Token) == 16:
			return
		case time.Now().After(deadline):
			t.Fatalf("the device keeps %v", token)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
