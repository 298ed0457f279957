package watest

import (
	"go.mau.fi/whatsmeow/types"
)

// usyncLocked answers queries about users: their devices, their LID, whether a
// phone number has an account.
func (s *Service) usyncLocked(c *conn, n *node) node {
	query := n.GetChildByTag("usync")
	list := query.GetChildByTag("list")
	wanted := query.GetChildByTag("query")
	users := make([]node, 0, len(list.GetChildren()))
	for _, user := range list.GetChildrenByTag("user") {
		users = append(users, s.userLocked(c.device, user, wanted))
	}
	reply := copyAttrs(query.Attrs, "sid", "index", "last", "mode", "context")
	return result(n, node{Tag: "usync", Attrs: reply, Content: []node{
		{Tag: "result"}, {Tag: "list", Content: users},
	}})
}

func (s *Service) userLocked(asking *device, user, wanted node) node {
	jid := jidAttr(&user, "jid")
	contact, byNumber := user.GetOptionalChildByTag("contact")
	if byNumber {
		jid = types.NewJID(digits(string(bytesOf(contact))), types.DefaultUserServer)
	}
	a := s.accountLocked(jid)
	if a != nil {
		a.watchers[asking.account] = struct{}{}
	}
	var content []node
	for _, field := range wanted.GetChildren() {
		content = append(content, userField(a, jid, field, contact)...)
	}
	who := attrs{"jid": jid}
	if field := wanted.GetChildByTag("contact"); byNumber && a != nil && textAttr(&field, "addressing_mode") == "lid" {
		who = attrs{"jid": a.lid, "pn_jid": a.pn}
	}
	return node{Tag: "user", Attrs: who, Content: content}
}

// userField is one part of the answer about a user; a is nil for a number
// without an account.
func userField(a *account, jid types.JID, field, contact node) []node {
	switch {
	case field.Tag == "contact":
		kind := "in"
		if a == nil {
			kind = "out"
		}
		return []node{{Tag: "contact", Attrs: attrs{"type": kind}, Content: contact.Content}}
	case a == nil && field.Tag == "devices":
		return []node{{Tag: "devices", Content: []node{{Tag: "error", Attrs: attrs{"code": "404"}}}}}
	case a == nil:
		return nil
	case field.Tag == "lid" && jid.Server == types.DefaultUserServer:
		return []node{{Tag: "lid", Attrs: attrs{"val": a.lid}}}
	case field.Tag == "devices":
		return []node{{Tag: "devices", Content: []node{a.deviceList()}}}
	default:
		return nil
	}
}

func (a *account) deviceList() node {
	list := node{Tag: "device-list"}
	var children []node
	for _, d := range a.sorted() {
		item := node{Tag: "device", Attrs: attrs{"id": int(d.id)}}
		if !d.isPhone() {
			item.Attrs["key-index"] = int(d.id)
		}
		children = append(children, item)
	}
	list.Content = children
	return list
}
