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
	key         stanzaKey
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
		stanza: stanza, class: stanza.Tag, kind: textAttr(&stanza, "type"),
		key: stanzaKey{textAttr(&stanza, "id"), jidAttr(&stanza, "from"), jidAttr(&stanza, "participant")},
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

// stanzaKey is what a client names a stanza by, besides class and type.
type stanzaKey struct {
	id                string
	from, participant types.JID
}

// acknowledgedLocked takes what a receipt or an ack is for out of the device's
// queue. A retry receipt is enough, but whatsmeow has an ack follow it. That one
// is for the message which could not be read: not for the copy under the same id
// with which the phone may have answered in between.
func (c *conn) acknowledgedLocked(n *node) {
	class, kind := "message", textAttr(n, "type")
	key := stanzaKey{textAttr(n, "id"), jidAttr(n, "to"), jidAttr(n, "participant")}
	if n.Tag == "ack" {
		class = textAttr(n, "class")
		if class == "message" && c.asked[key] > 0 {
			c.asked[key]--
			return
		}
	}
	found := c.device.acknowledgeLocked(class, kind, key)
	if found && n.Tag == "receipt" && kind == string(types.ReceiptTypeRetry) {
		if c.asked == nil {
			c.asked = map[stanzaKey]int{}
		}
		c.asked[key]++
	}
}

// acknowledgeLocked takes a stanza out of a device's queue, and reports whether it
// was there. The client names it by what it saw: class, key and, but for messages,
// type.
func (d *device) acknowledgeLocked(class, kind string, key stanzaKey) bool {
	i := slices.IndexFunc(d.queue, func(q *queued) bool {
		return q.class == class && q.key == key && (class == "message" || q.kind == kind)
	})
	if i < 0 {
		return false
	}
	d.queue = slices.Delete(d.queue, i, i+1)
	return true
}
