package chaos

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// ledger tells what is known of a session: its terms, its sockets and what was
// accepted for it and not shown.
func (h *Harness) ledger(session string) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(h.ctx), 10*time.Second)
	defer cancel()
	var b strings.Builder
	fmt.Fprintf(&b, "ledger of %s:\n", session)
	owner, err := h.store.Owner(ctx, session)
	if err != nil {
		fmt.Fprintf(&b, "  owner row: %v\n", err)
	} else {
		fmt.Fprintf(&b, "  owner row: %s epoch %d wanted %s state %q %s\n", owner.ConnectorID, owner.Epoch, owner.Wanted, owner.State, owner.StateDetail)
	}
	epochs, err := h.store.Epochs(ctx, session)
	if err != nil {
		fmt.Fprintf(&b, "  epochs: %v\n", err)
	}
	const most = 12
	for _, e := range epochs[:min(len(epochs), most)] {
		fmt.Fprintf(&b, "  epoch %d: %s by %s, start %s, reason %q, from %d/%d\n",
			e.Epoch, e.StartedAt.Format("15:04:05.000"), e.ConnectorID, e.Start, e.Reason, e.ParentEpoch, e.ParentSeq)
	}
	i := slices.IndexFunc(h.lines, func(l *line) bool { return l.name() == session })
	if i < 0 {
		return b.String()
	}
	l := h.lines[i]
	l.mu.Lock()
	device := l.device
	l.mu.Unlock()
	sockets := h.rig.WhatsApp.Admissions(&device)
	for _, a := range sockets[max(0, len(sockets)-most):] {
		fmt.Fprintf(&b, "  socket at %s: %s to %s %s\n", h.machineAt(a.Via), a.From.Format("15:04:05.000"), a.Until.Format("15:04:05.000"), a.End)
	}
	fmt.Fprintf(&b, "  device: %+v\n", h.rig.WhatsApp.Device(device))
	for _, c := range h.rig.WhatsApp.LostBy(device) {
		fmt.Fprintf(&b, "  not shown: %s from %s in %s, accepted %s, confirmed %t\n", c.ID, c.From, c.Chat, c.Accepted.Format("15:04:05.000"), c.Confirmed)
	}
	return b.String()
}
