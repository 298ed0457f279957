package watest

import (
	"maps"
	"slices"

	"go.mau.fi/whatsmeow/types"
)

// queued is a stanza for a device that it has not acknowledged yet.
type queued struct {
	stanza      node
	class, kind string // tag and type
	id          string
	from        types.JID
	participant types.JID
}

// offline is the stanza as it is delivered to a socket that was not there when
// it came.
func (q *queued) offline() node {
	n := q.stanza
	n.Attrs = maps.Clone(n.Attrs)
	n.Attrs["offline"] = "0"
	return n
}

// pushLocked delivers a stanza to a device, now if it is connected, and again
// at each login until it is acknowledged.
func (s *Service) pushLocked(d *device, stanza node) {
	if d.isPhone() {
		d.account.phone.pushLocked(stanza)
		return
	}
	d.queue = append(d.queue, &queued{
		stanza: stanza, class: stanza.Tag, kind: textAttr(&stanza, "type"), id: textAttr(&stanza, "id"),
		from: jidAttr(&stanza, "from"), participant: jidAttr(&stanza, "participant"),
	})
	s.pushLiveLocked(d, stanza)
}

// pushLiveLocked delivers a stanza to the sockets a device has now.
func (s *Service) pushLiveLocked(d *device, stanza node) {
	for _, c := range d.conns {
		if c.active {
			c.send(stanza)
		}
	}
}

// acknowledgeLocked takes a stanza out of a device's queue. The client names
// it by what it saw: class, id, sender and, but for messages, type.
func (d *device) acknowledgeLocked(class, kind string, n *node) {
	id, from, participant := textAttr(n, "id"), jidAttr(n, "to"), jidAttr(n, "participant")
	i := slices.IndexFunc(d.queue, func(q *queued) bool {
		return q.class == class && q.id == id && q.from == from && q.participant == participant &&
			(class == "message" || q.kind == kind)
	})
	if i >= 0 {
		d.queue = slices.Delete(d.queue, i, i+1)
	}
}
