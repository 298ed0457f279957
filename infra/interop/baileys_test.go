//go:build interop

package interop

import (
	"context"
	"testing"
	"time"

	"cloudsession/connector/watest"
)

// Baileys itself: it pairs with the simulated service, talks, stops, comes back.
func TestBaileysOnTheSimulatedService(t *testing.T) {
	var service watest.Service
	addr, err := service.Listen("127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { must(t, service.Close()) })
	watest.SilenceSignal()
	owner, err := service.NewPhone("628110000001", "Owner")
	must(t, err)
	peer, err := service.NewPhone("628110000002", "Peer")
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()

	folder := t.TempDir()
	b := startBot(t, addr.String(), folder)
	_, err = owner.ScanQR(ctx, b.waitQR())
	must(t, err)
	b.waitOpen()
	for range 2 {
		b.send(peer.PN().String(), "from Baileys")
		_, err = peer.WaitText(ctx, "from Baileys")
		must(t, err)
		_, err = peer.SendText(ctx, owner.PN(), "to Baileys")
		must(t, err)
		b.waitText("to Baileys")
		b.stop()
		b = startBot(t, addr.String(), folder)
		b.waitOpen()
	}
	b.stop()
	must(t, service.WaitNothingLost(ctx))
	if c := service.Counters(); c.RetryReceipts != 0 || c.KeysReused != 0 {
		t.Errorf("retries %d, keys reused %d", c.RetryReceipts, c.KeysReused)
	}
}
