package watest

import (
	"slices"
	"strconv"
	"time"

	"go.mau.fi/whatsmeow/proto/waWa6"
	"go.mau.fi/whatsmeow/types"
)

// greet says the first word after the handshake.
func (s *Service) greet(c *conn, payload *waWa6.ClientPayload) {
	if payload.GetDevicePairingData() != nil {
		s.greetPairing(c, payload.GetDevicePairingData())
		return
	}
	s.login(c, types.JID{
		User: strconv.FormatUint(payload.GetUsername(), 10), Server: types.DefaultUserServer,
		Device: uint16(payload.GetDevice()),
	})
}

func (s *Service) login(c *conn, jid types.JID) {
	refusal := s.faults.refusal(jid)
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.deviceLocked(jid)
	if refusal == nil && (d == nil || d.isPhone() || d.noise != c.static) {
		refusal = &Refusal{Reason: 401} // removed, or never linked
	}
	if refusal != nil {
		s.counts.LoginsRefused++
		c.sendLast(refusal.stanza())
		s.notifyLocked()
		return
	}
	if !s.faults.cloneAllowed(jid) {
		s.replaceLocked(d)
	}
	c.device = d
	d.conns = append(d.conns, c)
	d.open[c] = struct{}{}
	s.admitLocked(c, d)
	d.info.Logins++
	d.info.MaxSockets = max(d.info.MaxSockets, d.sockets())
	s.counts.Logins++
	s.counts.MaxSocketsPerDevice = max(s.counts.MaxSocketsPerDevice, d.sockets())
	c.send(node{Tag: "success", Attrs: attrs{
		"t": now(), "lid": d.address(types.HiddenUserServer), "from": types.ServerJID,
	}})
	s.notifyLocked()
}

// sockets counts the sockets that are logged in and open.
func (d *device) sockets() int {
	count := 0
	for c := range d.open {
		if !c.gone.Load() {
			count++
		}
	}
	return count
}

// replaceLocked ends the sockets a new login takes the place of. The client
// does not hang up by itself, so the service does.
func (s *Service) replaceLocked(d *device) {
	for _, old := range d.conns {
		if old.gone.Load() {
			old.endAdmissionLocked(AdmissionClosed)
			continue
		}
		s.counts.Replaced++
		d.info.Replaced++
		old.active = false
		old.endAdmissionLocked(AdmissionReplaced)
		old.sendLast(conflict("replaced", ""))
	}
	d.conns = nil
}

// conflict is the stream error of a session that somebody else ended.
func conflict(kind, code string) node {
	return node{
		Tag: "stream:error", Attrs: attrs{"code": code},
		Content: []node{{Tag: "conflict", Attrs: attrs{"type": kind}}},
	}
}

// forget drops a socket that has ended.
func (s *Service) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if c.device != nil {
		c.endAdmissionLocked(AdmissionClosed)
		delete(c.device.open, c)
		c.device.conns = slices.DeleteFunc(c.device.conns, func(other *conn) bool { return other == c })
	}
	if c.pairing != nil {
		for _, ref := range c.pairing.refs {
			delete(s.refs, ref)
		}
		for key, l := range s.links {
			if l.conn == c {
				delete(s.links, key)
			}
		}
	}
	s.notifyLocked()
}

// activateLocked starts delivery on a socket: first what waited, then the mark
// that all of it was sent.
func (s *Service) activateLocked(c *conn) {
	if c.device == nil || c.active {
		return
	}
	c.active = true
	if c.admission != nil {
		c.admission.Active = time.Now().UTC()
	}
	for _, q := range c.device.queue {
		c.send(q.offline())
	}
	c.send(node{Tag: "ib", Attrs: attrs{"from": types.ServerJID}, Content: []node{
		{Tag: "offline", Attrs: attrs{"count": strconv.Itoa(len(c.device.queue))}},
	}})
}

// unlinkLocked removes a linked device: a socket it has is told so and closed,
// and its next login fails with 401.
func (s *Service) unlinkLocked(d *device) {
	delete(d.account.devices, d.id)
	d.queue = nil
	for _, c := range d.conns {
		c.active = false
		c.endAdmissionLocked(AdmissionRemoved)
		c.sendLast(conflict("device_removed", "401"))
	}
	d.conns = nil
	s.counts.Unlinked++
	s.devicesChangedLocked(d.account)
	s.notifyLocked()
}
