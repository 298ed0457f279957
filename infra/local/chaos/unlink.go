package chaos

import (
	"context"
	"maps"
	"slices"

	"cloudsession/connector/watest"
)

// unlinkDevice is the phone unlinking the session's device. What the device has
// acknowledged by then nobody sends again: it is owed to the application. The
// service forgets it with the device, so it is noted before.
func (l *line) unlinkDevice(ctx context.Context) error {
	l.mu.Lock()
	session, device := l.session, l.device
	l.mu.Unlock()
	owed := slices.DeleteFunc(l.h.rig.WhatsApp.LostBy(device), func(c watest.Copy) bool { return !c.Confirmed })
	l.mu.Lock()
	l.owed[session] = owed
	l.mu.Unlock()
	// The service first: a message that the application is told of afterwards may
	// have come in before.
	err := l.owner.Unlink(ctx, device)
	l.unlink()
	return err
}

// overdue lists what is still owed of a session that was unlinked.
func (l *line) overdue(session string) []watest.Copy {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(l.owed[session]), func(c watest.Copy) bool { return l.shown[session+" "+c.ID] })
}

// unlinkedSessions names the sessions of which something was owed at their end.
func (l *line) unlinkedSessions() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.owed))
}

// lostAtEnd is a message that a device acknowledged before it was unlinked, and
// that the application was never shown, without an excuse; nil if there is none.
func (h *Harness) lostAtEnd() *lack {
	for _, l := range h.lines {
		for _, session := range l.unlinkedSessions() {
			if lost := h.inexcusable(l.overdue(session)); len(lost) > 0 {
				return &lack{"I2", session, describeLost("application before the device was unlinked", lost), true}
			}
		}
	}
	return nil
}
