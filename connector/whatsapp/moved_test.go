package whatsapp

import (
	"errors"
	"path/filepath"
	"testing"

	"go.mau.fi/whatsmeow/types/events"

	"cloudsession/connector/capture"
	"cloudsession/shared/sessionlog"
)

// throughTheLog builds the file that another machine gets from the log: everything captured now, replayed.
func (c *client) throughTheLog() string {
	c.t.Helper()
	ctx := testContext(c.t)
	base, err := c.file.Base(ctx)
	if err != nil {
		c.t.Fatal(err)
	}
	return fileOf(c.t, base.Push)
}

// fileOf makes the file of a base and returns its path.
func fileOf(t *testing.T, base sessionlog.Push) string {
	t.Helper()
	ctx := testContext(t)
	path := filepath.Join(t.TempDir(), "elsewhere.db")
	f, err := capture.Create(ctx, path, base, capture.Options{})
	if err != nil {
		t.Fatal(err)
	}
	replay, err := f.Replay(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(replay.Apply(ctx, base), replay.Commit(ctx), f.Check(ctx), f.Close()); err != nil {
		t.Fatal(err)
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
