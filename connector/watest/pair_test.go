package watest_test

import (
	"testing"
)

func TestPairByQRAndTalk(t *testing.T) {
	s, addr := service(t)
	alice, bob := newPhone(t, s, "+62 811 1111 1111", "Alice"), newPhone(t, s, "+62 822 2222 2222", "Bob")
	c := pairQR(t, addr, alice)

	c.send(bob.PN(), "hello Bob")
	r := waitText(t, bob, "hello Bob")
	if r.SenderPN != alice.PN() || r.FromMe {
		t.Errorf("Bob sees sender %s, from me %v", r.SenderPN, r.FromMe)
	}
	if own := waitText(t, alice, "hello Bob"); !own.FromMe || own.Chat != bob.LID() {
		t.Errorf("Alice's phone sees %+v", own)
	}

	sendText(t, bob, alice.LID(), "hello Alice")
	if m := c.awaitText("hello Alice"); m.Info.Chat != bob.LID() || m.Info.SenderAlt != bob.PN() || m.Info.PushName != "Bob" {
		t.Errorf("client sees %+v", m.Info)
	}
	sendText(t, bob, alice.PN(), "and by number")
	if m := c.awaitText("and by number"); m.Info.Chat != bob.PN() || m.Info.SenderAlt != bob.LID() {
		t.Errorf("client sees %+v", m.Info)
	}
	sendText(t, alice, bob.LID(), "from my phone")
	if m := c.awaitText("from my phone"); !m.Info.IsFromMe || m.Info.Chat != bob.LID() {
		t.Errorf("client sees %+v", m.Info)
	}
	waitText(t, bob, "from my phone")
	expectSound(t, s)
}
