package watest

import (
	"slices"

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

	Accepted      int // messages acknowledged to their senders, by id; repetitions not counted
	AcceptedAgain int // messages acknowledged under an id the same device had used before
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
