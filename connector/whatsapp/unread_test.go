package whatsapp

import (
	"testing"

	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/types"

	"cloudsession/connector/watest"
)

// A device that is in touch with its own phone for the first time when it needs it: whatsmeow can't ask the phone for
// a message without a Signal session, and acknowledges the message.
func TestUnreadIsAskedForLater(t *testing.T) {
	for _, broken := range []bool{false, true} {
		name := "at once"
		if broken {
			name = "over the next connection"
		}
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c := w.pairQR()
			device := c.jid()
			w.service.Faults().Withhold(&device)
			var rule *watest.Rule
			if broken {
				rule = w.service.Faults().CutOn(&device, watest.FromDevice, watest.Once(asksForKeys))
			}
			w.sendText(w.other, w.own.PN(), "precious")
			c.awaitMessage("precious")
			if broken && rule.Hits() != 1 {
				t.Errorf("cut %d times", rule.Hits())
			}
			if state, _ := c.State(); !state.Live() {
				t.Errorf("state %q", state)
			}
			w.sendText(w.other, w.own.PN(), "next") // whatsmeow asks by itself now
			c.awaitMessage("next")
			w.expectSound(c)
		})
	}
}

// asksForKeys picks requests for somebody's prekeys.
func asksForKeys(n *waBinary.Node) bool {
	_, asks := n.GetOptionalChildByTag("key")
	return n.Tag == "iq" && asks
}

// What can't be asked of the phone for now keeps nobody from receiving.
func TestUnreadDoesNotHoldUpTheRest(t *testing.T) {
	w := newWorld(t)
	paired := w.pairQR()
	device := paired.jid()
	paired.close()
	c := w.open(paired.path)
	c.unread.list = []types.MessageInfo{{MessageSource: types.MessageSource{Chat: w.other.LID(), Sender: w.other.LID()}, ID: "3EB0"}}
	rule := w.service.Faults().Drop(&device, watest.FromDevice, asksForKeys)
	defer rule.Remove()
	c.connect(false)
	w.sendText(w.other, w.own.PN(), "meanwhile")
	c.awaitMessage("meanwhile")
	w.wait("keys are asked for", func() bool { return rule.Hits() > 0 })
}
