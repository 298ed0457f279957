package whatsapp

import (
	"testing"

	waBinary "go.mau.fi/whatsmeow/binary"

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
				rule = w.service.Faults().CutOn(&device, watest.FromDevice, watest.Once(func(n *waBinary.Node) bool {
					_, asksForKeys := n.GetOptionalChildByTag("key")
					return n.Tag == "iq" && asksForKeys
				}))
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
