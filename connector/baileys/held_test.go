package baileys

import (
	"testing"

	"go.mau.fi/whatsmeow/types"

	"cloudsession/connector/watest"
)

// A message that is held back while later ones arrive leaves its key in the record.
// Out of whatsmeow that key can't be taken: the message is asked for again, once,
// and not lost. A group message's key can, but not that of the sender key's copy
// that came with the message.
func TestHeldBackMessage(t *testing.T) {
	for _, name := range []string{"direct", "group"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, types.AddressingModeLID)
			w.talk(6)
			// Sessions and sender key are there before anything is held back.
			to := w.alice.LID()
			if name == "group" {
				to = w.group
			}
			for _, text := range []string{"before 1", "before 2"} {
				w.b.send(to, text)
				w.a.awaitText(text)
			}
			rule := w.s.Faults().Hold(w.a.Store.ID, watest.ToDevice, watest.Once(watest.Tag("message")))
			w.b.send(to, "held back")
			w.b.send(to, "overtakes")
			w.a.awaitText("overtakes")
			if rule.Hits() != 1 {
				t.Fatalf("%d messages held back", rule.Hits())
			}
			w.move()
			w.a.awaitText("held back")
			w.talk(6)
			if err := w.s.WaitNothingLost(testContext(t)); err != nil {
				t.Errorf("lost: %+v", w.s.Lost())
			}
			if c := w.s.Counters(); c.RetryReceipts != 1 || c.KeysReused != 0 || c.ShownTwice != 0 || c.OldCounter != 0 {
				t.Errorf("counters: %+v", c)
			}
		})
	}
}
