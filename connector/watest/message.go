package watest

import (
	"slices"
	"strconv"

	"go.mau.fi/whatsmeow/types"
)

// acceptLocked takes a message from a device, delivers its copies and returns
// what the sender gets: an ack, without a participant hash.
func (s *Service) acceptLocked(from *device, n *node) []node {
	to := jidAttr(n, "to")
	code := 0
	switch {
	case to.Server == types.GroupServer:
		code = s.acceptGroupLocked(from, n, to)
	case hasChild(n, "participants"):
		code = s.fanOutLocked(from, n, to)
	default:
		code = s.acceptDirectLocked(from, n, to)
	}
	ack := node{Tag: "ack", Attrs: attrs{"class": "message", "id": textAttr(n, "id"), "from": to, "t": now()}}
	if code != 0 {
		ack.Attrs["error"] = strconv.Itoa(code)
	}
	s.notifyLocked()
	return []node{ack}
}

func (s *Service) countAcceptedLocked(from *device, id string) {
	if s.ledger.accept(from, id) {
		s.counts.Accepted++
	} else {
		s.counts.AcceptedAgain++
	}
}

// fanOutLocked delivers a 1:1 message: one copy for each device named.
func (s *Service) fanOutLocked(from *device, n *node, to types.JID) int {
	if s.accountLocked(to) == nil {
		return 404
	}
	s.countAcceptedLocked(from, textAttr(n, "id"))
	copies := s.copiesLocked(n)
	for _, d := range copies.devices {
		if d != from {
			s.deliverLocked(from, d, n, to, s.copyLocked(d, copies.encs[d]))
		}
	}
	return 0
}

// copies are a message's ciphertexts by device, in the order they were named.
type copies struct {
	devices []*device
	encs    map[*device][]node
}

// copiesLocked reads the participants of a message. A device that is not
// linked any more is passed over, as on the real service: the sender's list
// was old. Of a device named twice the last copy counts: whatsmeow names its
// own phone twice in a chat with itself, and goes on in the last session.
func (s *Service) copiesLocked(n *node) copies {
	c := copies{encs: make(map[*device][]node)}
	participants := n.GetChildByTag("participants")
	for _, copyFor := range participants.GetChildrenByTag("to") {
		d := s.deviceLocked(jidAttr(&copyFor, "jid"))
		if d == nil {
			continue
		}
		if c.encs[d] == nil {
			c.devices = append(c.devices, d)
		}
		c.encs[d] = copyFor.GetChildren()
	}
	return c
}

// acceptDirectLocked delivers a message to one device: a repetition somebody
// asked for with a retry receipt, or a word to the account's own phone.
func (s *Service) acceptDirectLocked(from *device, n *node, to types.JID) int {
	d := s.deviceLocked(to)
	if d == nil {
		return 404
	}
	chat := to.ToNonAD()
	if recipient := jidAttr(n, "recipient"); !recipient.IsEmpty() {
		chat = recipient
	}
	if textAttr(n, "category") == "peer" {
		s.counts.PeerMessages++
	} else {
		s.counts.Repeated++
	}
	s.deliverLocked(from, d, n, chat, n.GetChildrenByTag("enc"))
	return 0
}

// copyLocked is what a device gets of a message: its ciphertexts, or that there
// are none.
func (s *Service) copyLocked(d *device, encs []node) []node {
	if s.faults.withheld(d) {
		return []node{{Tag: "unavailable"}}
	}
	return encs
}

// deliverLocked queues one device's copy of a 1:1 message.
func (s *Service) deliverLocked(from, d *device, n *node, chat types.JID, encs []node) {
	server := addressServer(chat)
	a := s.messageAttrs(from, n)
	a["from"] = from.address(server)
	switch {
	case textAttr(n, "category") == "peer":
	case d.account == from.account:
		a["recipient"] = chat
		if other := s.accountLocked(chat); other != nil {
			a["peer_recipient_"+otherServerName(server)] = other.address(otherServer(server))
		}
		s.ledger.expect(d, from, chat, textAttr(n, "id"))
	default:
		a["sender_"+otherServerName(server)] = from.account.address(otherServer(server))
		s.ledger.expect(d, from, from.account.address(server), textAttr(n, "id"))
	}
	s.pushLocked(d, node{Tag: "message", Attrs: a, Content: messageContent(from, n, encs)})
}

// messageAttrs are the attributes every copy of a message has.
func (s *Service) messageAttrs(from *device, n *node) attrs {
	a := copyAttrs(n.Attrs, "id", "type", "edit", "category", "push_priority")
	a["t"] = now()
	a["notify"] = from.account.pushName
	return a
}

// messageContent is a copy's ciphertexts and what goes with them. The sender's
// signed identity goes with messages that open a session.
func messageContent(from *device, n *node, encs []node) []node {
	content := slices.Clone(encs)
	for _, child := range n.GetChildren() {
		switch child.Tag {
		case "participants", "enc", "reporting", "tctoken", "cstoken":
		case "device-identity":
			if !from.isPhone() && slices.ContainsFunc(encs, opensSession) {
				content = append(content, child)
			}
		default:
			content = append(content, child)
		}
	}
	return content
}

func opensSession(enc node) bool { return textAttr(&enc, "type") == "pkmsg" }

// acceptGroupLocked delivers a group message to every other device of every
// member, or a repetition to the one device that asked for it.
func (s *Service) acceptGroupLocked(from *device, n *node, to types.JID) int {
	g := s.groups[to]
	if g == nil || !g.has(from.account) {
		return 403
	}
	a := s.messageAttrs(from, n)
	server := g.server()
	a["from"], a["addressing_mode"] = to, string(g.mode)
	a["participant"] = from.address(server)
	a["participant_"+otherServerName(server)] = from.account.address(otherServer(server))
	encs := n.GetChildrenByTag("enc")
	if asked := jidAttr(n, "participant"); !asked.IsEmpty() {
		d := s.deviceLocked(asked)
		if d == nil {
			return 404
		}
		s.counts.Repeated++
		s.pushLocked(d, node{Tag: "message", Attrs: a, Content: messageContent(from, n, encs)})
		return 0
	}
	s.countAcceptedLocked(from, textAttr(n, "id"))
	pairwise := s.copiesLocked(n).encs
	for _, d := range g.devices() {
		if d != from {
			s.ledger.expect(d, from, to, textAttr(n, "id"))
			copied := s.copyLocked(d, slices.Concat(pairwise[d], encs))
			s.pushLocked(d, node{Tag: "message", Attrs: a, Content: messageContent(from, n, copied)})
		}
	}
	return 0
}

// addressServer is the address space a chat's messages use.
func addressServer(chat types.JID) string {
	if chat.Server == types.HiddenUserServer {
		return types.HiddenUserServer
	}
	return types.DefaultUserServer
}

func otherServer(server string) string {
	if server == types.HiddenUserServer {
		return types.DefaultUserServer
	}
	return types.HiddenUserServer
}

// otherServerName is how attributes name the address space that server is not.
func otherServerName(server string) string {
	if server == types.HiddenUserServer {
		return "pn"
	}
	return "lid"
}
