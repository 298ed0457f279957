package rig

import (
	"context"
	"fmt"
	"time"

	"go.mau.fi/whatsmeow/types"
)

// WatchGap notes when the device's socket closes next and when one opens again,
// on whichever connector. The function it returns waits for both, and returns
// the time in between as the service saw it.
func (r *Rig) WatchGap(ctx context.Context, device types.JID) (gap func() (time.Duration, error)) {
	before := r.WhatsApp.Device(device).Logins
	reopened := func() bool {
		info := r.WhatsApp.Device(device)
		return info.Logins > before && info.Active
	}
	var took time.Duration
	done := make(chan error, 1)
	go func() {
		err := r.WhatsApp.Wait(ctx, func() bool { return r.WhatsApp.Device(device).Sockets == 0 || reopened() })
		closed := time.Now()
		if err == nil {
			err = r.WhatsApp.Wait(ctx, reopened)
		}
		took = time.Since(closed)
		done <- err
	}()
	return func() (time.Duration, error) {
		if err := <-done; err != nil {
			return 0, fmt.Errorf("wait for the session's socket to open again: %w", err)
		}
		return took, nil
	}
}
