package chaos

import (
	"slices"
	"time"

	"go.mau.fi/whatsmeow/types"

	"cloudsession/connector/watest"
)

// unprotected is the one reason why a message may be missing, and takes two
// faults at once: A1 acknowledges on local durability when TiDB does not answer
// for 2 s, and says "unprotected" meanwhile; then the disk was lost.
const unprotected = "acknowledged while TiDB was out of reach, and lost with the disk"

// lastMoment is how long a change may take to be replicated while nothing is
// wrong with TiDB, on a busy machine.
const lastMoment = 3 * time.Second

// period is a time during which something was wrong with a machine.
type period struct{ from, until time.Time }

func (p period) meets(from, until time.Time) bool {
	return p.from.Before(until) && (p.until.IsZero() || p.until.After(from))
}

// trouble notes that a machine can't reach TiDB as it should, until the function
// it returns is called.
func (m *machine) trouble() (over func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := len(m.troubles)
	m.troubles = append(m.troubles, period{from: time.Now()})
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.troubles[i].until = time.Now()
	}
}

// lostDisk notes that what was on the disk is gone, or some of it.
func (m *machine) lostDisk() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.losses = append(m.losses, time.Now())
}

// lostAfter reports whether the machine lost its disk after something was
// written to it, and before that can be expected to be in TiDB.
func (m *machine) lostAfter(written time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, loss := range m.losses {
		if loss.Before(written) {
			continue
		}
		// TiDB need not have been whole again for long when the disk went.
		trouble := func(p period) bool { return p.meets(written.Add(-lastMoment), loss) }
		if slices.ContainsFunc(m.troubles, trouble) {
			return true
		}
	}
	return false
}

// inexcusable leaves out the copies that may be missing.
func (h *Harness) inexcusable(lost []watest.Copy) []watest.Copy {
	return slices.DeleteFunc(lost, func(c watest.Copy) bool { return h.excuse(c) != "" })
}

// excused counts the copies that are missing and may be, by reason.
func (h *Harness) excused() map[string]int {
	lost := h.rig.WhatsApp.Lost()
	for _, l := range h.lines {
		l.mu.Lock()
		device := l.device
		l.mu.Unlock()
		lost = append(lost, h.rig.WhatsApp.LostBy(device)...)
	}
	reasons := map[string]int{}
	for _, c := range lost {
		if why := h.excuse(c); why != "" {
			reasons[why]++
		}
	}
	return reasons
}

func (h *Harness) excuse(c watest.Copy) string {
	if c.Device.Device != 0 && c.Confirmed {
		if m := h.machineOf(c.Device, c.ConfirmedAt); m != nil && m.lostAfter(c.ConfirmedAt) {
			return unprotected
		}
	}
	return ""
}

// machineOf is where a device was admitted at a time.
func (h *Harness) machineOf(device types.JID, at time.Time) *machine {
	for _, a := range h.rig.WhatsApp.Admissions(&device) {
		// An ack may be on its way when its socket ends.
		if a.From.After(at) || !a.Until.IsZero() && a.Until.Add(time.Second).Before(at) {
			continue
		}
		i := slices.IndexFunc(h.machines, func(m *machine) bool { return m.via == a.Via })
		if i >= 0 {
			return h.machines[i]
		}
	}
	return nil
}
