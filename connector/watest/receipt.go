package watest

import (
	"go.mau.fi/whatsmeow/types"
)

// receiptLocked relays a receipt and returns the ack for it.
func (s *Service) receiptLocked(from *device, n *node) node {
	to, participant, kind := jidAttr(n, "to"), jidAttr(n, "participant"), textAttr(n, "type")
	whose := to
	if to.Server == types.GroupServer {
		whose = participant
	}
	a := copyAttrs(n.Attrs, "id", "type", "recipient", "category")
	a["t"] = now()
	server := addressServer(whose)
	if to.Server == types.GroupServer {
		a["from"], a["participant"] = to, from.address(server)
		a["participant_"+otherServerName(server)] = from.account.address(otherServer(server))
	} else {
		a["from"] = from.address(server)
		a["sender_"+otherServerName(server)] = from.account.address(otherServer(server))
	}
	if kind == string(types.ReceiptTypeRetry) {
		s.counts.RetryReceipts++
	} else {
		s.counts.Delivered += s.ledger.confirm(from, s.accountLocked(whose), textAttr(n, "id"))
	}
	for _, d := range s.receiptTargetsLocked(from, whose, kind) {
		s.pushLocked(d, node{Tag: "receipt", Attrs: a, Content: n.Content})
	}
	s.notifyLocked()
	ack := copyAttrs(n.Attrs, "id", "type", "participant")
	ack["class"], ack["from"] = "receipt", to
	return node{Tag: "ack", Attrs: ack}
}

// receiptTargetsLocked is who gets a receipt: the device it is addressed to,
// or, addressed to an account as a whole, all of its devices. A retry receipt,
// and one within an account, is for one device always.
func (s *Service) receiptTargetsLocked(from *device, to types.JID, kind string) []*device {
	a := s.accountLocked(to)
	if a == nil {
		return nil
	}
	if to.Device != 0 || kind == string(types.ReceiptTypeRetry) || a == from.account {
		if d := a.devices[to.Device]; d != nil && d != from {
			return []*device{d}
		}
		return nil
	}
	return a.sorted()
}
