package watest

import (
	"crypto/rand"
	"math/big"
	"slices"
	"strconv"
	"time"

	"go.mau.fi/whatsmeow/types"
)

// group is a WhatsApp group. Guarded by the service's mutex.
type group struct {
	jid     types.JID
	subject string
	mode    types.AddressingMode // lid, or pn for groups of the old kind
	owner   *account
	members []*account
	created time.Time
}

func (g *group) has(a *account) bool { return slices.Contains(g.members, a) }

// server is the address space of the group's participants.
func (g *group) server() string {
	if g.mode == types.AddressingModePN {
		return types.DefaultUserServer
	}
	return types.HiddenUserServer
}

func (g *group) devices() []*device {
	var all []*device
	for _, a := range g.members {
		all = append(all, a.sorted()...)
	}
	return all
}

// participants lists members as whatsmeow reads them.
func (g *group) participants(members []*account) []node {
	server := g.server()
	list := make([]node, len(members))
	for i, a := range members {
		item := attrs{"jid": a.address(server)}
		if server == types.HiddenUserServer {
			item["phone_number"] = a.pn
		} else {
			item["lid"] = a.lid
		}
		if a == g.owner {
			item["type"] = "superadmin"
		}
		list[i] = node{Tag: "participant", Attrs: item}
	}
	return list
}

func (g *group) node() node {
	return node{
		Tag: "group",
		Attrs: attrs{
			"id": g.jid.User, "creator": g.owner.address(g.server()), "subject": g.subject,
			"s_t": strconv.FormatInt(g.created.Unix(), 10), "s_o": g.owner.address(g.server()),
			"creation": strconv.FormatInt(g.created.Unix(), 10), "addressing_mode": string(g.mode),
			"size": len(g.members), "p_v_id": "1", "a_v_id": "1",
		},
		Content: g.participants(g.members),
	}
}

// newGroupLocked makes a group and tells its members' devices.
func (s *Service) newGroupLocked(by *device, subject string, mode types.AddressingMode, members []*account) *group {
	id, err := rand.Int(rand.Reader, big.NewInt(1e18))
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	g := &group{
		jid: types.NewJID("120"+id.String(), types.GroupServer), subject: subject, mode: mode,
		owner: by.account, members: []*account{by.account}, created: time.Now(),
	}
	for _, a := range members {
		if !g.has(a) {
			g.members = append(g.members, a)
		}
	}
	s.groups[g.jid] = g
	s.groupChangedLocked(g, by, node{Tag: "create", Attrs: attrs{"type": "new"}, Content: []node{g.node()}})
	return g
}

// groupChangedLocked sends a notification to every linked device in a group
// except the one that made the change.
func (s *Service) groupChangedLocked(g *group, by *device, change node) {
	server := g.server()
	for _, d := range g.devices() {
		if d == by || d.isPhone() {
			continue
		}
		s.pushLocked(d, node{
			Tag: "notification",
			Attrs: attrs{
				"type": "w:gp2", "from": g.jid, "id": s.nextIDLocked(), "t": now(), "addressing_mode": string(g.mode),
				"participant": by.account.address(server), "notify": by.account.pushName,
				"participant_" + otherServerName(server): by.account.address(otherServer(server)),
			},
			Content: []node{change},
		})
	}
	s.notifyLocked()
}

// groupIQLocked serves w:g2: create, query, list, and changes of members and
// subject.
func (s *Service) groupIQLocked(by *device, n *node) node {
	to, child := jidAttr(n, "to"), firstChild(n)
	switch child.Tag {
	case "create":
		g := s.newGroupLocked(by, textAttr(&child, "subject"), types.AddressingModeLID, s.accountsLocked(child))
		return result(n, g.node())
	case "participating":
		return result(n, node{Tag: "groups", Content: s.groupsOfLocked(by.account)})
	case "leave":
		for _, left := range child.GetChildrenByTag("group") {
			if g := s.groups[jidAttr(&left, "id")]; g != nil {
				s.removeMembersLocked(g, by, []*account{by.account})
			}
		}
		return result(n)
	}
	g := s.groups[to]
	switch {
	case g == nil:
		return failed(n, 404, "item-not-found")
	case !g.has(by.account):
		return failed(n, 403, "forbidden")
	}
	switch child.Tag {
	case "query":
		return result(n, g.node())
	case "add", "remove":
		return s.membersLocked(g, by, n, child)
	case "subject":
		g.subject = string(bytesOf(child))
		s.groupChangedLocked(g, by, node{Tag: "subject", Attrs: attrs{"subject": g.subject, "s_t": now()}})
		return result(n)
	default:
		return failed(n, 501, "feature-not-implemented")
	}
}

// membersLocked adds or removes members.
func (s *Service) membersLocked(g *group, by *device, n *node, change node) node {
	accounts := s.accountsLocked(change)
	if change.Tag == "remove" {
		s.removeMembersLocked(g, by, accounts)
	} else {
		s.addMembersLocked(g, by, accounts)
	}
	return result(n, node{Tag: change.Tag, Content: g.participants(accounts)})
}

func (s *Service) addMembersLocked(g *group, by *device, accounts []*account) {
	for _, a := range accounts {
		if !g.has(a) {
			g.members = append(g.members, a)
		}
	}
	s.groupChangedLocked(g, by, node{Tag: "add", Content: g.participants(accounts)})
}

func (s *Service) removeMembersLocked(g *group, by *device, accounts []*account) {
	s.groupChangedLocked(g, by, node{Tag: "remove", Content: g.participants(accounts)})
	g.members = slices.DeleteFunc(g.members, func(a *account) bool { return slices.Contains(accounts, a) })
	s.notifyLocked()
}

// accountsLocked finds the accounts named by participant children.
func (s *Service) accountsLocked(parent node) []*account {
	var found []*account
	for _, participant := range parent.GetChildrenByTag("participant") {
		if a := s.accountLocked(jidAttr(&participant, "jid")); a != nil {
			found = append(found, a)
		}
	}
	return found
}

func (s *Service) groupsOfLocked(a *account) []node {
	var list []node
	for _, g := range s.groups {
		if g.has(a) {
			list = append(list, g.node())
		}
	}
	return list
}
