package watest

import (
	"testing"

	"go.mau.fi/whatsmeow/types"
)

// A phone may answer a retry receipt before the ack that whatsmeow has follow it
// arrives. The answer is under the same id, and waits for an ack of its own.
func TestAckAfterARetryReceipt(t *testing.T) {
	var s Service
	c := &conn{service: &s, device: &device{account: &account{}, id: 1}}
	sender := types.NewJID("123", types.HiddenUserServer)
	copied := node{Tag: "message", Attrs: attrs{"id": "X", "from": sender, "type": "text"}}
	receipt := func(kind string) *node {
		return &node{Tag: "receipt", Attrs: attrs{"id": "X", "to": sender, "type": kind}}
	}
	ack := &node{Tag: "ack", Attrs: attrs{"id": "X", "to": sender, "class": "message"}}

	for _, end := range []*node{receipt("sender"), ack} {
		s.pushLocked(c.device, copied)
		c.acknowledgedLocked(receipt("retry"))
		s.pushLocked(c.device, copied)
		c.acknowledgedLocked(ack)
		if n := len(c.device.queue); n != 1 {
			t.Fatalf("%d copies wait after the ack for the one that could not be read, want that of the answer", n)
		}
		c.acknowledgedLocked(end)
		if n := len(c.device.queue); n != 0 {
			t.Fatalf("%d copies wait after the %s for the answer", n, end.Tag)
		}
	}
}
