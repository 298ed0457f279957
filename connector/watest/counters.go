package watest

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"

	"go.mau.fi/libsignal/protocol"
	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/types"
)

// Counters are sums over a service's life. Messages between a phone and its
// own linked devices' machinery (category "peer") count in PeerMessages only.
type Counters struct {
	Sockets             int // sockets opened
	Logins              int // successful ones
	LoginsRefused       int // answered with a failure
	Replaced            int // sockets a new login of the same device took the place of
	MaxSocketsPerDevice int // most sockets one device had logged in and open at once
	Pairings            int // devices linked
	Unlinked            int // devices removed
	PreKeyUploads       int // uploads of one-time prekeys

	Accepted      int // messages acknowledged to their senders, repetitions not counted
	Delivered     int // copies a device confirmed, by whatever receipt but retry
	Repeated      int // copies sent again in answer to a retry receipt
	RetryReceipts int // retry receipts received
	PeerMessages  int // messages of a linked device to its own phone

	Decrypted  int // copies the phones decrypted
	Shown      int // messages the phones showed, and those reported by [Service.ReportShown]
	ShownTwice int // texts shown again: see [Service.ReportShown]
	Suppressed int // copies a phone decrypted and did not show, having shown that id
	OldCounter int // copies a phone dropped silently: their message key was used before

	KeysReused int // Signal message keys that encrypted two different messages: see [Service.Reuses]
}

// Counters returns the sums so far.
func (s *Service) Counters() Counters {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts
}

// DeviceInfo is what the service knows of one device.
type DeviceInfo struct {
	Linked          bool // false once removed, or never there
	Logins          int  // successful ones
	Replaced        int  // its sockets that a new login took the place of
	Sockets         int  // logged in and open now
	MaxSockets      int  // most of them at once
	Active          bool // connected and taking deliveries
	Queued          int  // stanzas not acknowledged yet
	PreKeys         int  // one-time prekeys the service holds
	PreKeyUploads   int  // uploads
	PreKeysUploaded int  // keys in them
	MaxPreKeyID     uint32
}

// Device describes a device, by its phone-number JID or its LID.
func (s *Service) Device(jid types.JID) DeviceInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.deviceLocked(jid)
	if d == nil {
		return DeviceInfo{}
	}
	info := d.info
	info.Sockets, info.Queued, info.PreKeys = d.sockets(), len(d.queue), len(d.bundle.oneTime)
	info.Active = slices.ContainsFunc(d.conns, func(c *conn) bool { return c.active })
	for _, key := range d.bundle.oneTime {
		info.MaxPreKeyID = max(info.MaxPreKeyID, key.id)
	}
	return info
}

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
	texts  map[string]string // device, sender, chat and text shown, to the id it had
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
	c.Confirmed = true
	return 1
}

// show notes that a device's user was shown a message, and whether that text
// had been shown under another id.
func (l *ledger) show(d *device, sender *account, chat types.JID, id, text string) (twice bool) {
	if c := l.copies[copyKey{d, sender, id}]; c != nil {
		c.Shown++
		twice = c.Shown > 1
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

// Reuse is a Signal message key that encrypted two different messages. Both
// are on the wire: who has read one can read the other.
type Reuse struct {
	Device  types.JID // the sending device, by its LID
	ID      types.MessageID
	FirstID types.MessageID // the message that used the key first
	Group   bool            // a sender key; else a pairwise session
	Counter uint32          // the message's number in its chain
}

// keyWatch remembers under which keys which ciphertexts came.
type keyWatch struct {
	seen   map[string]sighting
	reuses []Reuse
}

type sighting struct {
	ciphertext [sha256.Size]byte
	id         string
}

// Reuses lists the message keys seen twice with different ciphertexts.
func (s *Service) Reuses() []Reuse {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.watch.reuses)
}

// observe looks at every ciphertext of a message as it comes off the wire,
// before any fault keeps it from going further.
func (s *Service) observe(c *conn, n *node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.device != nil {
		s.observeLocked(c.device, n)
	}
}

func (s *Service) observeLocked(from *device, n *node) {
	encs := n.GetChildrenByTag("enc")
	participants := n.GetChildByTag("participants")
	for _, copyFor := range participants.GetChildren() {
		encs = append(encs, copyFor.GetChildrenByTag("enc")...)
	}
	for _, enc := range encs {
		group := textAttr(&enc, "type") == "skmsg"
		chain, counter, ok := messageKey(textAttr(&enc, "type"), bytesOf(enc))
		if !ok {
			continue
		}
		if group {
			chain = from.address(types.HiddenUserServer).String() + jidAttr(n, "to").String() + chain
		}
		s.sightLocked(from, chain, counter, group, textAttr(n, "id"), sealedPart(textAttr(&enc, "type"), bytesOf(enc)))
	}
}

func (s *Service) sightLocked(from *device, chain string, counter uint32, group bool, id string, ciphertext []byte) {
	if s.watch.seen == nil {
		s.watch.seen = make(map[string]sighting)
	}
	key := chain + string(binary.BigEndian.AppendUint32(nil, counter))
	sum := sha256.Sum256(ciphertext)
	before, ok := s.watch.seen[key]
	if !ok {
		s.watch.seen[key] = sighting{sum, id}
		return
	}
	if before.ciphertext != sum {
		s.counts.KeysReused++
		s.watch.reuses = append(s.watch.reuses, Reuse{
			Device: from.address(types.HiddenUserServer), ID: id, FirstID: before.id, Group: group, Counter: counter,
		})
	}
}

// messageKey names the key a ciphertext was made with: its chain (the sender's
// ratchet key, or the sender key's id) and its number in the chain.
func messageKey(kind string, ciphertext []byte) (chain string, counter uint32, ok bool) {
	if kind == "skmsg" {
		m, err := protocol.NewSenderKeyMessageFromBytes(ciphertext, store.SignalProtobufSerializer.SenderKeyMessage)
		if err != nil {
			return "", 0, false
		}
		return string(uint32Bytes(m.KeyID())), m.Iteration(), true
	}
	m, err := signalMessage(kind, ciphertext)
	if err != nil {
		return "", 0, false
	}
	return string(m.SenderRatchetKey().Serialize()), m.Counter(), true
}

func signalMessage(kind string, ciphertext []byte) (*protocol.SignalMessage, error) {
	s := store.SignalProtobufSerializer
	if kind != "pkmsg" {
		return protocol.NewSignalMessageFromBytes(ciphertext, s.SignalMessage)
	}
	m, err := protocol.NewPreKeySignalMessageFromBytes(ciphertext, s.PreKeySignalMessage, s.SignalMessage)
	if err != nil {
		return nil, err
	}
	return m.WhisperMessage(), nil
}

// sealedPart is the part of a ciphertext that must be the same whenever its
// key is: the same message may be sent with and without its session opening.
func sealedPart(kind string, ciphertext []byte) []byte {
	if kind == "pkmsg" {
		if m, err := signalMessage(kind, ciphertext); err == nil {
			return m.Serialize()
		}
	}
	return ciphertext
}
