package chaos

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.mau.fi/whatsmeow/types"

	"cloudsession/connector/watest"
)

// unprotected is the one reason why a message may be missing, and takes two
// faults at once: A1 acknowledges on local durability when TiDB does not answer
// for 2 s, and says "unprotected" meanwhile; then the disk was lost.
const unprotected = "acknowledged while TiDB was out of reach, and lost with the disk"

// hearing is how long after the connector wrote a line the harness may read it.
const hearing = 10 * time.Second

// period is a time during which what a session acknowledged may have been on its
// machine's disk alone: from when the connector said that the session is
// unprotected until it said that TiDB has everything. One that was killed or lost
// the session before it could say so is heard no more: the period lasts until a
// quiet moment finds that all is durable.
type period struct {
	session     string
	from, until time.Time // until is zero while it lasts
}

// sayings is a connector's log on its way to its file, read for what it says of
// protection.
type sayings struct {
	m    *machine
	rest []byte // a line that is not finished
}

var saying = regexp.MustCompile(`msg="(session is unprotected|session is protected again|session closed, log sealed)[^"]*".* session=("[^"]*"|\S+)`)

// Write implements io.Writer.
func (s *sayings) Write(b []byte) (int, error) {
	s.rest = append(s.rest, b...)
	for {
		line, rest, whole := bytes.Cut(s.rest, []byte("\n"))
		if !whole {
			break
		}
		if said := saying.FindSubmatch(line); said != nil {
			s.m.said(string(said[1]), strings.Trim(string(said[2]), `"`))
		}
		s.rest = rest
	}
	return s.m.log.Write(b)
}

func (m *machine) said(what, session string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if what == "session is unprotected" {
		m.periods = append(m.periods, period{session: session, from: time.Now()})
		return
	}
	m.endPeriods(session)
}

// endPeriods ends those of a session, or of all for "". m.mu is held.
func (m *machine) endPeriods(session string) {
	for i, p := range m.periods {
		if p.until.IsZero() && (session == "" || session == p.session) {
			m.periods[i].until = time.Now()
		}
	}
}

// durable ends the periods of a session of which everything was found to be in
// TiDB, and shown: those from before the connector was asked and said that the
// session is not unprotected.
func (m *machine) durable(session string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sessions[session].Unprotected != "" {
		return
	}
	for i, p := range m.periods {
		if p.session == session && p.until.IsZero() && p.from.Before(m.askedAt) {
			m.periods[i].until = time.Now()
		}
	}
}

// lostDisk notes that what was on the disk is gone, or some of it.
func (m *machine) lostDisk() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.endPeriods("")
	m.losses = append(m.losses, time.Now())
}

// lostAfter reports whether the machine lost its disk after something of a session
// was written to it, and before its connector said that it is in TiDB.
func (m *machine) lostAfter(session string, written time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, loss := range m.losses {
		open := func(p period) bool {
			lasted := p.until.Add(hearing).After(loss) // it was ended by the loss
			return p.session == session && written.Add(hearing).After(p.from) && lasted
		}
		if loss.After(written) && slices.ContainsFunc(m.periods, open) {
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
		for _, session := range l.unlinkedSessions() {
			lost = append(lost, l.overdue(session)...)
		}
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
		m, session := h.machineOf(c.Device, c.ConfirmedAt), h.sessionOf(c.Device)
		if m != nil && m.lostAfter(session, c.ConfirmedAt) {
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
