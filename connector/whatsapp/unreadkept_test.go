package whatsapp

import (
	"sync"
	"testing"

	waBinary "go.mau.fi/whatsmeow/binary"

	"cloudsession/connector/watest"
)

// What could not be asked of the phone before the session was stopped, acknowledged as it is, is asked for by the
// next process.
func TestUnreadIsAskedForByTheNextSession(t *testing.T) {
	w := newWorld(t)
	c := w.pairQR()
	device := c.jid()
	w.service.Faults().Withhold(&device)
	var acknowledged sync.Map
	w.service.Faults().Drop(&device, watest.FromDevice, func(n *waBinary.Node) bool {
		if n.Tag == "ack" {
			acknowledged.Store(n.Attrs["id"], true)
		}
		return false
	})
	rule := w.service.Faults().Drop(&device, watest.FromDevice, asksForKeys)
	id := w.sendText(w.other, w.own.PN(), "precious")
	w.wait("the message to be noted", c.hasUnread)
	w.wait("the acknowledgement", func() bool { _, ok := acknowledged.Load(id); return ok })
	c.close()
	rule.Remove()

	next := w.open(c.path)
	next.connect(false)
	next.awaitMessage("precious")
	w.wait("the record of it to go", func() bool {
		left, err := next.Inbox().Marks(t.Context(), markUnread)
		return err == nil && len(left) == 0
	})
	w.expectSound(next)
}
