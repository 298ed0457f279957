package watest_test

import (
	"testing"
)

func TestPrivacyToken(t *testing.T) {
	s, addr := service(t)
	alice, bob := newPhone(t, s, "6281111111111", "Alice"), newPhone(t, s, "6282222222222", "Bob")
	c := pairQR(t, addr, alice)
	if err := bob.SendPrivacyToken(alice.PN()); err != nil {
		t.Fatal(err)
	}
	waitFor(t, s, "the device acknowledges it", func() bool { return s.Device(*c.Store.ID).Queued == 0 })
	token, err := c.Store.PrivacyTokens.GetPrivacyToken(t.Context(), bob.LID())
	if err != nil {
		t.Fatal(err)
	}
	if token == nil || len(token.Token) != 16 {
		t.Errorf("the device keeps %v", token)
	}
}
