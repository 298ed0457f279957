package webhook

import (
	"container/heap"
	"math/rand/v2"
	"slices"
	"time"

	"cloudsession/connector/inbox"
)

const (
	firstPause    = time.Second
	longPause     = 5 * time.Minute
	maxRetryAfter = time.Hour
	leasePause    = time.Second // before looking again whether deliveries are allowed
)

// chat is a chat that has messages to deliver. What they say stays in the file until it is sent.
type chat struct {
	names    []string // under which its messages are stored: a LID may be learnt after the first of them
	after    int64    // everything up to here is delivered
	last     int64    // the last message known to be in the file
	posted   int64    // taken by the receiver, but not yet noted in the file
	failures int      // of the next message, in a row
	failed   int64    // the message that they were of
	running  int      // attempts under way, of this chat and of those that became part of it
	notUntil time.Time
	listed   bool  // in ready or in resting
	merges   int   // chats that became part of this one
	waiting  int   // messages noted and not known to be delivered
	into     *chat // the chat this one turned out to be
}

// whole is the chat that g is part of, g itself for most.
func (g *chat) whole() *chat {
	for g.into != nil {
		g = g.into
	}
	return g
}

// chats are a session's chats with messages to deliver, by what they may do next.
type chats struct {
	byName  map[string]*chat
	ready   []*chat // in the order in which they became so
	resting restingChats
	lost    int // failing chats that turned out to be part of another failing one
	waiting int // messages of all chats noted and not known to be delivered
}

func newChats() *chats { return &chats{byName: make(map[string]*chat)} }

// note learns of a message. A message that has two addresses makes one chat of what looked like two.
func (c *chats) note(p inbox.Pending) {
	g := c.byName[p.Chat]
	if g == nil {
		g = &chat{names: []string{p.Chat}, after: p.Seq - 1}
		c.byName[p.Chat] = g
	}
	if p.ChatPN != "" && p.ChatPN != p.Chat {
		if other := c.byName[p.ChatPN]; other == nil {
			g.names = append(g.names, p.ChatPN)
			c.byName[p.ChatPN] = g
		} else if other != g {
			c.merge(other, g)
		}
	}
	g.last = max(g.last, p.Seq)
	g.waiting++
	c.waiting++
	c.list(g)
}

// merge makes other a part of g.
func (c *chats) merge(other, g *chat) {
	for _, name := range other.names {
		c.byName[name] = g
	}
	g.names = append(slices.Clone(g.names), other.names...) // attempts under way hold the old slice
	g.after, g.last = min(g.after, other.after), max(g.last, other.last)
	g.running += other.running
	if g.failures > 0 && other.failures > 0 {
		c.lost++
	}
	g.failures = max(g.failures, other.failures)
	g.merges++
	g.waiting, other.waiting = g.waiting+other.waiting, 0
	other.into = g
}

// list puts a chat where it belongs, unless it is there or has an attempt under way.
func (c *chats) list(g *chat) {
	if g.listed || g.running > 0 || g.into != nil {
		return
	}
	g.listed = true
	if g.notUntil.IsZero() {
		c.ready = append(c.ready, g)
	} else {
		heap.Push(&c.resting, g)
	}
}

// next takes the chat that is ready for longest; nil when none is.
func (c *chats) next(now time.Time) *chat {
	for len(c.resting) > 0 && !c.resting[0].notUntil.After(now) {
		g := heap.Pop(&c.resting).(*chat)
		g.notUntil = time.Time{}
		c.ready = append(c.ready, g)
	}
	for len(c.ready) > 0 {
		g := c.ready[0]
		c.ready[0] = nil
		c.ready = c.ready[1:]
		g.listed = false
		if g.into == nil && g.running == 0 {
			return g
		}
	}
	return nil
}

// rest keeps a chat from being ready for a while.
func (c *chats) rest(g *chat, until time.Time) {
	if !g.listed {
		g.notUntil = until
	}
}

// wake is when the next chat has rested enough; zero when none rests.
func (c *chats) wake() time.Time {
	if len(c.resting) == 0 {
		return time.Time{}
	}
	return c.resting[0].notUntil
}

// settled takes a chat back after an attempt, and forgets it when nothing is left.
func (c *chats) settled(g *chat) {
	if g.after < g.last {
		c.list(g)
		return
	}
	c.forget(g, g.waiting) // what was not delivered grew too old
	if g.running > 0 || g.listed {
		return
	}
	for _, name := range g.names {
		if c.byName[name] == g {
			delete(c.byName, name)
		}
	}
}

// forget takes n messages of a chat off those that wait.
func (c *chats) forget(g *chat, n int) {
	n = min(n, g.waiting)
	g.waiting -= n
	c.waiting -= n
}

// failing counts the chats whose last attempt failed.
func (c *chats) failing() (n int) {
	seen := map[*chat]bool{}
	for _, g := range c.byName {
		if g.failures > 0 && !seen[g] {
			seen[g] = true
			n++
		}
	}
	return n
}

// pause is how long a message rests after it failed so often: doubling, with half of it random, so that many chats
// don't come back at the same moment.
func pause(failures int, asked time.Duration) time.Duration {
	d := min(firstPause<<min(failures-1, 20), longPause)
	d = d/2 + time.Duration(rand.Int64N(int64(d/2)+1)) //nolint:gosec // jitter, not a secret
	return max(d, asked)
}

// restingChats is a heap by notUntil.
type restingChats []*chat

func (r restingChats) Len() int           { return len(r) }
func (r restingChats) Less(i, j int) bool { return r[i].notUntil.Before(r[j].notUntil) }
func (r restingChats) Swap(i, j int)      { r[i], r[j] = r[j], r[i] }

// Push implements heap.Interface.
func (r *restingChats) Push(x any) { *r = append(*r, x.(*chat)) }

// Pop implements heap.Interface.
func (r *restingChats) Pop() any {
	old := *r
	g := old[len(old)-1]
	old[len(old)-1] = nil
	*r = old[:len(old)-1]
	return g
}
