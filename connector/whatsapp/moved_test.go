package whatsapp

import (
	"errors"
	"path/filepath"
	"testing"

	"go.mau.fi/whatsmeow/types/events"

	"cloudsession/connector/capture"
)

// throughTheLog builds the file that another machine gets from the log: everything captured now, replayed.
func (c *client) throughTheLog() string {
	c.t.Helper()
	ctx := testContext(c.t)
	base, err := c.file.Base(ctx)
	if err != nil {
		c.t.Fatal(err)
	}
	path := filepath.Join(c.t.TempDir(), "elsewhere.db")
	f, err := capture.Open(ctx, path, capture.Options{})
	if err != nil {
		c.t.Fatal(err)
	}
	if err := f.Apply(ctx, base.Push); err != nil {
		c.t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		c.t.Fatal(err)
	}
	return path
}

// A push may fall between decrypting a message and storing it, and a closing session refuses what it has just
// decrypted. The ratchet has moved by then, so whoever goes on must be able to read the message when it comes again.
func TestDecryptedNotStoredElsewhere(t *testing.T) {
	for _, safe := range []bool{false, true} {
		name := "exact"
		if safe {
			name = "safe"
		}
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c := w.pairQR()
			c.send(w.other.PN(), "hello")
			w.sendText(w.other, w.own.PN(), "hello yourself")
			c.awaitMessage("hello yourself")
			refused := make(chan struct{}, 16)
			c.testMessage = func(evt *events.Message) error {
				if evt.Message.GetConversation() != "half way" {
					return nil
				}
				refused <- struct{}{}
				return errors.New("not stored")
			}
			w.sendText(w.other, w.own.PN(), "half way")
			<-refused
			moved := c.throughTheLog()
			c.close()

			again := w.open(moved)
			if safe {
				if err := again.PrepareSafe(testContext(t), PrepareSafe{MaxPreKeyID: 1000}); err != nil {
					t.Fatal(err)
				}
			}
			again.connect(safe)
			again.awaitMessage("half way")
			w.sendText(w.other, w.own.PN(), "next")
			again.awaitMessage("next")
			w.expectSound(again)
		})
	}
}
