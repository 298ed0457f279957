package watest

import (
	"slices"
	"strings"
	"time"

	"go.mau.fi/whatsmeow/types"
)

// Copy is one device's copy of a message the service accepted.
type Copy struct {
	Device types.JID // the device, by its LID
	From   types.JID // the sending device, by its LID
	Chat   types.JID // as the receiving device names it: the peer, or the group
	ID     types.MessageID
	// Confirmed says that the device sent a receipt for it, Shown how often its
	// user was shown it.
	Confirmed bool
	Shown     int
	// Accepted is when the service took the message, ConfirmedAt when the receipt
	// came, FirstShown when its user was first shown it; zero if never. UTC.
	Accepted, ConfirmedAt, FirstShown time.Time
}

type copyKey struct {
	device *device
	sender *account
	id     string
}

// ledger follows every copy from acceptance to the screen.
type ledger struct {
	copies map[copyKey]*Copy
	order  []*Copy
	due    int               // copies for phones not shown yet
	known  map[copyKey]bool  // sending device, its account and id of what was accepted
	texts  map[string]string // device, sender, chat and text shown, to the id it had
}

// accept notes a message, and whether its id is new.
func (l *ledger) accept(from *device, id string) (isNew bool) {
	if l.known == nil {
		l.known = make(map[copyKey]bool)
	}
	key := copyKey{from, from.account, id}
	isNew = !l.known[key]
	l.known[key] = true
	return isNew
}

// expect notes that a device is due a copy.
func (l *ledger) expect(d, from *device, chat types.JID, id string) {
	key := copyKey{d, from.account, id}
	if l.copies == nil {
		l.copies = make(map[copyKey]*Copy)
	}
	if l.copies[key] != nil {
		return
	}
	c := &Copy{
		Device: d.address(types.HiddenUserServer), From: from.address(types.HiddenUserServer), Chat: chat, ID: id,
		Accepted: time.Now().UTC(),
	}
	if d.isPhone() {
		l.due++
	}
	l.copies[key] = c
	l.order = append(l.order, c)
}

// confirm notes a receipt; it returns 1 for the first one of a copy.
func (l *ledger) confirm(d *device, sender *account, id string) int {
	c := l.copies[copyKey{d, sender, id}]
	if c == nil || c.Confirmed {
		return 0
	}
	c.Confirmed, c.ConfirmedAt = true, time.Now().UTC()
	return 1
}

// show notes that a device's user was shown a message, and whether that text
// had been shown under another id.
func (l *ledger) show(d *device, sender *account, chat types.JID, id, text string) (twice bool) {
	if c := l.copies[copyKey{d, sender, id}]; c != nil {
		if c.Shown++; c.Shown == 1 {
			c.FirstShown = time.Now().UTC()
		}
		twice = c.Shown > 1
		if d.isPhone() && !twice {
			l.due--
		}
	}
	if text == "" {
		return twice
	}
	if l.texts == nil {
		l.texts = make(map[string]string)
	}
	key := strings.Join([]string{d.address(types.HiddenUserServer).String(), sender.lid.String(), chat.String(), text}, "\x00")
	if before, ok := l.texts[key]; ok && before != id {
		twice = true
	}
	l.texts[key] = id
	return twice
}

// Copies lists what a device was due, oldest first: every message accepted
// for it.
func (s *Service) Copies(device types.JID) []Copy {
	return s.copies(func(c *Copy) bool {
		d := s.deviceLocked(device)
		return d != nil && c.Device == d.address(types.HiddenUserServer)
	})
}

// Lost lists the copies that were accepted for a phone and that it has not
// shown: those on their way are among them, so ask when all is quiet, or wait
// with [Service.WaitNothingLost].
func (s *Service) Lost() []Copy {
	return s.copies(func(c *Copy) bool { return c.Device.Device == 0 && c.Shown == 0 })
}

// LostBy lists the copies that were accepted for one device and not shown
// there. For a linked device this has a meaning only if what it shows is
// reported with [Service.ReportShown].
func (s *Service) LostBy(device types.JID) []Copy {
	return slices.DeleteFunc(s.Copies(device), func(c Copy) bool { return c.Shown > 0 })
}

func (s *Service) copies(keep func(*Copy) bool) []Copy {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Copy
	for _, c := range s.ledger.order {
		if keep(c) {
			list = append(list, *c)
		}
	}
	return list
}

// ReportShown tells the service what the application behind a linked device
// showed its user, which the service can't see: the device, the sender, the
// message's id and its text. A message counts as shown twice if its id is
// reported again, or if the same text from the same sender in the same chat
// comes under another id: tests that look at the sum use texts that differ.
func (s *Service) ReportShown(device, sender, chat types.JID, id types.MessageID, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, a := s.deviceLocked(device), s.accountLocked(sender)
	if d == nil || a == nil {
		return
	}
	s.shownLocked(d, a, chat, id, text)
}

func (s *Service) shownLocked(d *device, sender *account, chat types.JID, id, text string) {
	if other := s.accountLocked(chat); other != nil {
		chat = other.lid
	}
	s.counts.Shown++
	if s.ledger.show(d, sender, chat, id, text) {
		s.counts.ShownTwice++
	}
	s.notifyLocked()
}
