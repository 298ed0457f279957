package watest

// receive takes one stanza off a socket.
func (s *Service) receive(c *conn, n *node) {
	if n.Tag == "message" {
		s.observe(c, n)
	}
	s.faults.pass(c, FromDevice, *n, func() { s.handle(c, n) })
}

// handle acts on a stanza. Every stanza is handled under the service's mutex,
// so that what a socket sends is handled in order.
func (s *Service) handle(c *conn, n *node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, open := s.conns[c]; !open {
		return // held back for longer than the socket lasted
	}
	if n.Tag == "iq" {
		s.handleIQLocked(c, n)
		return
	}
	if c.device == nil || s.accounts[accountKey(c.device.account.pn)].devices[c.device.id] != c.device {
		return // not logged in, or unlinked meanwhile
	}
	switch n.Tag {
	case "message":
		for _, answer := range s.acceptLocked(c.device, n) {
			c.send(answer)
		}
	case "receipt":
		c.acknowledgedLocked(n)
		c.send(s.receiptLocked(c.device, n))
	case "ack":
		c.acknowledgedLocked(n)
	case "presence":
		if name := textAttr(n, "name"); name != "" {
			c.device.account.pushName = name
		}
	}
	// Anything else (ib, chatstate, …) needs no answer.
	s.notifyLocked()
}

func (s *Service) handleIQLocked(c *conn, n *node) {
	switch textAttr(n, "type") {
	case "result", "error":
		if reply := c.replies[textAttr(n, "id")]; reply != nil {
			delete(c.replies, textAttr(n, "id"))
			reply <- n
		}
	default:
		c.send(s.answerLocked(c, n))
		if hasChild(n, "active") && textAttr(n, "xmlns") == "passive" {
			s.activateLocked(c)
		}
		s.notifyLocked()
	}
}

// answerLocked answers a request. What the service doesn't know gets an error:
// without an answer the client would wait for over a minute.
func (s *Service) answerLocked(c *conn, n *node) node {
	namespace := textAttr(n, "xmlns")
	switch {
	case namespace == "w:p", namespace == "urn:xmpp:ping":
		return result(n)
	case namespace == "md" && hasChild(n, "link_code_companion_reg"):
		return s.linkCodeLocked(c, n)
	case c.device == nil:
		return failed(n, 401, "not-authorized")
	}
	switch namespace {
	case "encrypt":
		return s.encryptIQ(c, n)
	case "passive", "urn:xmpp:whatsapp:dirty":
		return result(n)
	case "usync":
		return s.usyncLocked(c, n)
	case "w:g2":
		return s.groupIQLocked(c.device, n)
	case "w:sync:app:state":
		return appState(n)
	case "privacy":
		return privacy(n)
	case "md":
		return s.removeDeviceLocked(c, n)
	case "abt":
		return result(n, node{Tag: "props", Attrs: attrs{"protocol": "1", "hash": "1"}})
	case "blocklist":
		return result(n, node{Tag: "list", Attrs: attrs{"dhash": "1"}})
	default:
		return failed(n, 501, "feature-not-implemented")
	}
}

// appState answers that nothing has ever been written to the collections
// asked for.
func appState(n *node) node {
	sync := n.GetChildByTag("sync")
	var collections []node
	for _, asked := range sync.GetChildrenByTag("collection") {
		collections = append(collections, node{Tag: "collection", Attrs: attrs{
			"name": textAttr(&asked, "name"), "version": "0", "has_more_patches": "false",
		}})
	}
	return result(n, node{Tag: "sync", Content: collections})
}

// privacy answers settings with "everybody" and takes trusted-contact tokens.
func privacy(n *node) node {
	if textAttr(n, "type") == "set" {
		return result(n)
	}
	var categories []node
	for _, name := range []string{"readreceipts", "profile", "status", "last", "groupadd", "online", "calladd"} {
		categories = append(categories, node{Tag: "category", Attrs: attrs{"name": name, "value": "all"}})
	}
	return result(n, node{Tag: "privacy", Content: categories})
}

// removeDeviceLocked is a client's own logout.
func (s *Service) removeDeviceLocked(c *conn, n *node) node {
	remove, ok := n.GetOptionalChildByTag("remove-companion-device")
	if !ok {
		return failed(n, 501, "feature-not-implemented")
	}
	d := s.deviceLocked(jidAttr(&remove, "jid"))
	if d == nil || d.account != c.device.account || d.isPhone() {
		return failed(n, 404, "item-not-found")
	}
	if d == c.device {
		// The client hangs up by itself when it has the answer.
		d.conns = nil
	}
	s.unlinkLocked(d)
	return result(n)
}
