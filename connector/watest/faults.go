package watest

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/types"
)

// Direction says which way a stanza goes.
type Direction int

// The two directions, seen from the service.
const (
	FromDevice Direction = iota
	ToDevice
)

// Match picks stanzas; nil picks all. It is called while other stanzas wait,
// must not block and must not call the service.
type Match func(*waBinary.Node) bool

// Tag matches stanzas by their tag: "message", "receipt", "ack", "iq",
// "notification", …
func Tag(tag string) Match {
	return func(n *waBinary.Node) bool { return n.Tag == tag }
}

// Once limits match to the first stanza it picks.
func Once(match Match) Match {
	var used atomic.Bool
	return func(n *waBinary.Node) bool {
		return (match == nil || match(n)) && !used.Swap(true)
	}
}

// Faults are a service's hooks for misbehaving. Each takes the device it is
// for, by its phone-number JID or its LID, or nil for every device. They may
// be set and removed at any time.
type Faults struct {
	service *Service
	mu      sync.Mutex
	rules   []*Rule
}

type action int

const (
	drop action = iota
	hold
	cutOff
	refuse
	clone
	stall
	withhold
	hangUp
)

// Rule is a fault in force.
type Rule struct {
	faults    *Faults
	device    *types.JID
	action    action
	direction Direction
	match     Match
	refusal   Refusal

	// Guarded by Faults.mu.
	hits int
	held []func()
}

// Hits is how many stanzas, copies, logins or connects the rule has caught.
func (r *Rule) Hits() int {
	r.faults.mu.Lock()
	defer r.faults.mu.Unlock()
	return r.hits
}

// Remove ends the rule. What it held goes on its way, in the order it came.
func (r *Rule) Remove() {
	r.faults.mu.Lock()
	r.faults.rules = slices.DeleteFunc(r.faults.rules, func(other *Rule) bool { return other == r })
	held := r.held
	r.held = nil
	r.faults.mu.Unlock()
	for _, resume := range held {
		resume()
	}
}

func (f *Faults) add(r *Rule) *Rule {
	r.faults = f
	if r.device != nil {
		device := *r.device
		r.device = &device
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = append(f.rules, r)
	return r
}

// Drop loses stanzas without a trace.
func (f *Faults) Drop(device *types.JID, d Direction, match Match) *Rule {
	return f.add(&Rule{device: device, action: drop, direction: d, match: match})
}

// Hold keeps stanzas back until the rule is removed: a delay that ends when
// the test says so. Stanzas the rule doesn't match overtake them. A stanza
// whose socket has ended by then is lost.
func (f *Faults) Hold(device *types.JID, d Direction, match Match) *Rule {
	return f.add(&Rule{device: device, action: hold, direction: d, match: match})
}

// CutOn cuts the socket instead of letting a stanza pass: with FromDevice the
// service never hears it, with ToDevice it has acted and the answer is lost.
func (f *Faults) CutOn(device *types.JID, d Direction, match Match) *Rule {
	return f.add(&Rule{device: device, action: cutOff, direction: d, match: match})
}

// LoseAcks accepts and delivers messages and loses the acks their senders wait
// for.
func (f *Faults) LoseAcks(device *types.JID) *Rule {
	return f.Drop(device, ToDevice, func(n *waBinary.Node) bool {
		return n.Tag == "ack" && n.Attrs["class"] == "message"
	})
}

// RefuseLogins answers logins with a failure. The device stays linked.
func (f *Faults) RefuseLogins(device *types.JID, refusal Refusal) *Rule {
	return f.add(&Rule{device: device, action: refuse, refusal: refusal})
}

// AllowClones lets a device have several sockets at once: a login replaces
// nobody, and every socket gets what is delivered.
func (f *Faults) AllowClones(device *types.JID) *Rule {
	return f.add(&Rule{device: device, action: clone})
}

// HoldConnects leaves clients that want a socket without an answer until the
// rule is removed. Which device they are is not known yet, so it is for all.
func (f *Faults) HoldConnects() *Rule { return f.add(&Rule{action: stall}) }

// HangUp closes sockets right behind the last stanza of their streams (515,
// failure, device_removed, replaced), which their clients may then never handle.
// Without it they have time to.
func (f *Faults) HangUp() *Rule { return f.add(&Rule{action: hangUp}) }

// Withhold gives a device no copy of the messages sent to it: in place of the
// ciphertext stands that there is none, as with what its sender lets only the
// phone read. The account's phone has them. What somebody asked to be repeated,
// and the phone's own answers, come as they are.
func (f *Faults) Withhold(device *types.JID) *Rule {
	return f.add(&Rule{device: device, action: withhold})
}

// Refusal is a failure at login.
type Refusal struct {
	Reason  int           // such as 401, 402 (temporary ban), 403, 405, 406, 409, 503
	Code    int           // with 402: the reason of the ban
	Expire  time.Duration // with 402: how long it lasts
	Message string
}

func (r *Refusal) stanza() node {
	a := attrs{"reason": strconv.Itoa(r.Reason), "from": types.ServerJID, "message": r.Message}
	if r.Reason == 402 {
		a["code"], a["expire"] = strconv.Itoa(r.Code), strconv.Itoa(int(r.Expire.Seconds()))
	}
	return node{Tag: "failure", Attrs: a}
}

// Cut closes the sockets of a device, or of all, without a word. It returns
// how many there were.
func (f *Faults) Cut(device *types.JID) int {
	conns := f.service.socketsOf(device)
	for _, c := range conns {
		c.cut()
	}
	return len(conns)
}

// StreamError ends the sockets of a device, or of all, with a stream error of
// this code, and closes them a moment later. It returns how many there were.
func (f *Faults) StreamError(device *types.JID, code string) int {
	conns := f.service.socketsOf(device)
	for _, c := range conns {
		c.sendLast(node{Tag: "stream:error", Attrs: attrs{"code": code}})
	}
	return len(conns)
}

// Replace tells the sockets of a device, or of all, that another client with the
// same keys took their place, and closes them a moment later. It returns how
// many there were.
func (f *Faults) Replace(device *types.JID) int {
	conns := f.service.socketsOf(device)
	for _, c := range conns {
		c.sendLast(conflict("replaced", ""))
	}
	return len(conns)
}

// socketsOf lists the open, logged-in sockets of a device, or of all.
func (s *Service) socketsOf(device *types.JID) []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []*conn
	for c := range s.conns {
		if c.device != nil && (device == nil || s.deviceLocked(*device) == c.device) {
			found = append(found, c)
		}
	}
	return found
}

// isFor reports whether the rule is for a device that has these two names.
func (r *Rule) isFor(pn, lid types.JID) bool {
	return r.device == nil || *r.device == pn || *r.device == lid
}

func (f *Faults) find(want action, pn, lid types.JID) *Rule {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.rules {
		if r.action == want && r.isFor(pn, lid) {
			r.hits++
			return r
		}
	}
	return nil
}

// refusal is the failure a login by jid meets, if any.
func (f *Faults) refusal(jid types.JID) *Refusal {
	if r := f.find(refuse, jid, f.lidOf(jid)); r != nil {
		return &r.refusal
	}
	return nil
}

func (f *Faults) lidOf(pn types.JID) types.JID {
	return types.JID{User: lidUser(pn.User), Server: types.HiddenUserServer, Device: pn.Device}
}

func (f *Faults) cloneAllowed(jid types.JID) bool {
	return f.find(clone, jid, f.lidOf(jid)) != nil
}

// admit returns when a client may have its socket, or has given up.
func (f *Faults) admit(ctx context.Context) {
	f.mu.Lock()
	i := slices.IndexFunc(f.rules, func(r *Rule) bool { return r.action == stall })
	if i < 0 {
		f.mu.Unlock()
		return
	}
	released := make(chan struct{})
	f.rules[i].hits++
	f.rules[i].held = append(f.rules[i].held, func() { close(released) })
	f.mu.Unlock()
	select {
	case <-released:
	case <-ctx.Done():
	}
}

func (f *Faults) hangsUp() bool { return f.find(hangUp, types.EmptyJID, types.EmptyJID) != nil }

// withheld tells whether a linked device gets no copy of a message.
func (f *Faults) withheld(d *device) bool {
	return !d.isPhone() && f.find(withhold, d.address(types.DefaultUserServer), d.address(types.HiddenUserServer)) != nil
}

// pass lets a stanza go on by calling resume, now, later or never. It never
// holds the lock while it calls.
func (f *Faults) pass(c *conn, d Direction, n node, resume func()) {
	switch f.judge(c, d, &n, resume) {
	case drop, hold:
	case cutOff:
		c.cut()
	default:
		resume()
	}
}

const proceed action = -1

func (f *Faults) judge(c *conn, d Direction, n *node, resume func()) action {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.rules) == 0 {
		return proceed
	}
	var pn, lid types.JID
	if device := c.device; device != nil {
		pn, lid = device.address(types.DefaultUserServer), device.address(types.HiddenUserServer)
	}
	for _, r := range f.rules {
		if r.action > cutOff || r.direction != d || !r.isFor(pn, lid) || (r.match != nil && !r.match(n)) {
			continue
		}
		r.hits++
		if r.action == hold {
			r.held = append(r.held, resume)
		}
		return r.action
	}
	return proceed
}
