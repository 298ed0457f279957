package watest

import (
	"slices"
	"time"

	"go.mau.fi/whatsmeow/types"
)

// Admission is one socket's time as a device: from the login that was let in
// until the service no longer took it for the device, because another login
// replaced it, the device was removed, or the socket ended. No two admissions
// of a device overlap, unless [Faults.AllowClones] says that they may.
type Admission struct {
	Device types.JID // by its LID
	// Via is the address the client reached the service at, as [Service.Listen]
	// returned it: with a listener for each client it tells who came.
	Via string
	// From and Until are by this machine's wall clock, UTC; Until is zero while
	// the socket is admitted. Active is when it began to take deliveries; zero if
	// it never did.
	From, Active, Until time.Time
	End                 AdmissionEnd
}

// AdmissionEnd is why an admission ended.
type AdmissionEnd string

// The ends of an admission.
const (
	AdmissionOpen     AdmissionEnd = ""         // it has not
	AdmissionClosed   AdmissionEnd = "closed"   // the socket ended, from either side
	AdmissionReplaced AdmissionEnd = "replaced" // a login of the same device took its place
	AdmissionRemoved  AdmissionEnd = "removed"  // the device was unlinked
)

// Admissions lists the admissions of a device, or of all devices for nil,
// oldest first. Devices that were removed meanwhile are among them.
func (s *Service) Admissions(device *types.JID) []Admission {
	s.mu.Lock()
	defer s.mu.Unlock()
	var want types.JID
	if device != nil {
		want = *device
		if a := s.accountLocked(*device); a != nil {
			want = a.lid
			want.Device = device.Device
		}
	}
	list := make([]Admission, 0, len(s.admissions))
	for _, a := range s.admissions {
		if device == nil || a.Device == want {
			list = append(list, *a)
		}
	}
	return list
}

// Gap is a time during which nobody was admitted as a device.
type Gap struct {
	Device        types.JID // by its LID
	From, Until   time.Time
	Before, After Admission // what it lies between
}

// Gaps lists the times between one admission of a device and the next, in which
// messages had to wait for it; nil stands for all devices. A replacement leaves
// none.
func (s *Service) Gaps(device *types.JID) []Gap {
	last := make(map[types.JID]Admission)
	var gaps []Gap
	for _, a := range s.Admissions(device) {
		before, ok := last[a.Device]
		last[a.Device] = a
		if ok && before.End == AdmissionClosed && before.Until.Before(a.From) {
			gaps = append(gaps, Gap{Device: a.Device, From: before.Until, Until: a.From, Before: before, After: a})
		}
	}
	slices.SortFunc(gaps, func(x, y Gap) int { return x.From.Compare(y.From) })
	return gaps
}

// admitLocked notes that a login was let in.
func (s *Service) admitLocked(c *conn, d *device) {
	c.admission = &Admission{Device: d.address(types.HiddenUserServer), Via: c.local, From: time.Now().UTC()}
	s.admissions = append(s.admissions, c.admission)
}

// endAdmissionLocked notes the end of a socket's admission; its first end counts.
func (c *conn) endAdmissionLocked(why AdmissionEnd) {
	if a := c.admission; a != nil && a.End == AdmissionOpen {
		a.Until, a.End = time.Now().UTC(), why
	}
}
