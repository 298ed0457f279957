package chaos

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kind is a kind of fault or operation.
type Kind string

// The kinds. Where nothing else is said, a machine is one connector's.
const (
	KillSame  Kind = "kill, same disk"     // kill -9, started again on its disk after For
	KillEmpty Kind = "kill, empty disk"    // kill -9, started again on an empty disk after For
	KillOld   Kind = "kill, old disk"      // a copy of the running disk is made; after For kill -9, and the copy is put back
	KillPast  Kind = "kill, past disk"     // the same, and the machine stays away for Away, past its lease, before it comes back with the copy
	Stop      Kind = "stop"                // SIGTERM, started again after For
	Freeze    Kind = "freeze"              // SIGSTOP, SIGCONT after For
	Cut       Kind = "cut link"            // connections reset and refused for For
	Silence   Kind = "silent link"         // bytes lost without a word for For, then reset: half-open
	Part      Kind = "parted link"         // bytes held back for For, delivered afterwards
	Slow      Kind = "slow link"           // latency for For
	LoseEnds  Kind = "lose commit answers" // commits are carried out and their answers lost, for For
	LateWrite Kind = "late statements"     // some writes reach TiDB only after For, their connections cut at once
	QueueOdd  Kind = "queue refuses"       // SQS refuses calls or loses its answers, for For
	Duplicate Kind = "duplicate command"   // the newest command's message is sent again
	SocketEnd Kind = "cut socket"          // a device's WhatsApp socket ends
	LoseAcks  Kind = "lose message acks"   // the service's acks of a device's messages are lost, for For
	HoldIn    Kind = "hold deliveries"     // what the service delivers to a device is held back for For
	Clone     Kind = "replaced by a clone" // the service says that another client has the device's keys
	Sync      Kind = "POST sync"           // of a session
	Restore   Kind = "POST restore"        // of a session
	MoveTo    Kind = "POST restore onto"   // of a session, onto a named connector
	Delete    Kind = "DELETE, sync"        // of a session's cloud copy; synced again after For
	Unlink    Kind = "unlinked by phone"   // a fresh session is paired at the next quiet moment
	Drain     Kind = "connector drain"     // of a machine
	AppAway   Kind = "application away"    // it answers deliveries with 503 for For
	ClockStep Kind = "clock step"          // a machine's wall clock is set by Step, until the faults end
	CloseOpen Kind = "close, open"         // of a session, by its operator; opened again after For
)

// The links of a machine.
const (
	linkTiDB     = "TiDB"
	linkSQS      = "SQS"
	linkWhatsApp = "WhatsApp"
)

// Action is one entry of a schedule.
type Action struct {
	At      time.Duration // since the schedule began
	Kind    Kind
	Machine int    // which machine it is done to, where it is one
	Line    int    // which session it is done to, where it is one
	Link    string // which link
	For     time.Duration
	Away    time.Duration // how long the machine is away after For
	Step    time.Duration // what is added to the clock
	Sent    int           // how many sends of Line are waited for first, however slow the machine, while people talk
	Deleted bool          // it waits for the DELETE of its schedule
}

// onLine reports whether the action is done to a session.
func (a Action) onLine() bool {
	switch a.Kind {
	case SocketEnd, LoseAcks, HoldIn, Clone, Sync, Restore, MoveTo, Delete, Unlink, CloseOpen, Duplicate:
		return true
	default:
		return false
	}
}

// hasProcess reports whether the action has a machine's process to itself.
func (a Action) hasProcess() bool {
	switch a.Kind {
	case KillSame, KillEmpty, KillOld, KillPast, Stop, Freeze, Drain:
		return true
	default:
		return false
	}
}

func (a Action) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%6.1fs %s", a.At.Seconds(), a.Kind)
	if a.Link != "" {
		fmt.Fprintf(&b, " to %s", a.Link)
	}
	if a.onLine() {
		fmt.Fprintf(&b, ", session %d", a.Line)
	}
	if !a.onLine() || a.Kind == MoveTo {
		fmt.Fprintf(&b, ", machine %c", 'a'+a.Machine)
	}
	if a.Step != 0 {
		fmt.Fprintf(&b, ", by %v", a.Step)
	}
	if a.Deleted {
		b.WriteString(", after DELETE")
	}
	if a.For > 0 {
		fmt.Fprintf(&b, ", for %.1fs", a.For.Seconds())
	}
	if a.Away > 0 {
		fmt.Fprintf(&b, ", away %.1fs", a.Away.Seconds())
	}
	return b.String()
}

// Schedule is what is done between two quiet moments, made from one seed.
type Schedule struct {
	Seed    uint64
	Name    string        // of one that was not made from its seed
	Length  time.Duration // how long people go on talking
	Actions []Action      // by At
}

func (s Schedule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "schedule of seed %s, %.1fs:\n", s.replay(), s.Length.Seconds())
	for _, a := range s.Actions {
		fmt.Fprintf(&b, "  %v\n", a)
	}
	return b.String()
}

// late reports whether statements may reach TiDB in it long after they were sent.
func (s Schedule) late() bool {
	return slices.ContainsFunc(s.Actions, func(a Action) bool {
		return a.Kind == LateWrite || a.Kind == Part && a.Link == linkTiDB
	})
}

// replay is what SEED has to be for the schedule to be played again.
func (s Schedule) replay() string {
	return cmp.Or(s.Name, strconv.FormatUint(s.Seed, 10))
}

// Loss is the shortest schedule that loses messages when a restored session
// keeps its stale state: people talk while the connector can't push, it dies
// with its disk, and another goes on from what TiDB has. Session 0 is on
// machine a.
func Loss() Schedule {
	return Schedule{
		Name: "loss", Length: 15 * time.Second,
		Actions: []Action{
			{At: 2 * time.Second, Kind: Cut, Machine: 0, Link: linkTiDB, For: 12 * time.Second},
			{At: 5 * time.Second, Kind: KillEmpty, Machine: 0, For: 9 * time.Second, Sent: 3},
		},
	}
}

// deletes reports whether a session's copy is deleted in it.
func (s Schedule) deletes(line int) bool {
	return slices.ContainsFunc(s.Actions, func(a Action) bool { return a.Kind == Delete && a.Line == line })
}

// voices starts what is said around a session, each part by randomness of its own.
func (s Schedule) voices(line int, start func(func()), parts ...func(*rand.Rand)) {
	r := rand.New(rand.NewPCG(s.Seed, uint64(line)+1)) //nolint:gosec // G404, G115: a seed must repeat it
	for i, part := range parts {
		own := rand.New(rand.NewPCG(r.Uint64(), uint64(i)+1)) //nolint:gosec // as above
		start(func() { part(own) })
	}
}

// choice is a kind with its weight and how long it lasts, in seconds.
type choice struct {
	kind     Kind
	weight   int
	from, to float64
}

// Some last past the lease of 10 s, most do not.
var choices = []choice{
	{KillSame, 6, 0, 3},
	{KillSame, 2, 11, 15},
	{KillEmpty, 5, 0, 8},
	{KillOld, 3, 1, 6},
	{KillPast, 2, 1, 6},
	{Stop, 4, 0, 4},
	{Freeze, 4, 0.5, 4},
	{Freeze, 4, 12, 16},
	{Cut, 5, 0.5, 5},
	{Cut, 3, 11, 16},
	{Silence, 4, 1, 6},
	{Silence, 3, 11, 16},
	{Part, 3, 1, 14},
	{Slow, 3, 3, 12},
	{LoseEnds, 4, 1, 6},
	{LateWrite, 4, 3, 14},
	{QueueOdd, 2, 2, 10},
	{Duplicate, 2, 0, 0},
	{SocketEnd, 4, 0, 0},
	{LoseAcks, 3, 0.5, 4},
	{HoldIn, 2, 0.5, 4},
	{Clone, 1, 0, 0},
	{Sync, 3, 0, 0},
	{Restore, 4, 0, 0},
	{MoveTo, 5, 0, 0},
	{Unlink, 1, 0, 0},
	{CloseOpen, 2, 0.5, 3},
	{Drain, 2, 3, 8},
	{AppAway, 2, 1, 8},
	{ClockStep, 3, 0, 0},
}

// Generate makes the schedule of a seed for so many machines and sessions.
func Generate(seed uint64, machines, lines int) Schedule {
	r := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // a seed must repeat it
	s := Schedule{Seed: seed, Length: seconds(r, 10, 22)}
	if r.IntN(8) == 0 {
		s.Actions = apart(deletion(r, machines, lines, s.Length), machines)
		return s
	}
	for range 2 + r.IntN(6) {
		s.Actions = append(s.Actions, draw(r, choices, machines, lines, s.Length))
	}
	s.Actions = apart(s.Actions, machines)
	return s
}

// draw makes one action of a list.
func draw(r *rand.Rand, from []choice, machines, lines int, length time.Duration) Action {
	total := 0
	for _, c := range from {
		total += c.weight
	}
	n := r.IntN(total)
	c := from[slices.IndexFunc(from, func(c choice) bool { n -= c.weight; return n < 0 })]
	a := Action{
		At: seconds(r, 0, length.Seconds()*0.8), Kind: c.kind, For: seconds(r, c.from, c.to),
		Machine: r.IntN(machines), Line: r.IntN(lines),
	}
	link := []string{linkTiDB, linkTiDB, linkWhatsApp, linkSQS}[r.IntN(4)]
	switch a.Kind {
	case Cut, Silence, Part, Slow:
		a.Link = link
	case KillPast:
		a.Away = seconds(r, 12, 18)
	case ClockStep:
		// Under an hour, which changes nothing in a copy (daysOff); 20 days are more than
		// anything that is kept for a time is kept.
		most := []float64{3000, 3000, 20 * 24 * 3600}[r.IntN(3)]
		a.Step = seconds(r, -most, most).Truncate(time.Second)
	default:
	}
	return a
}

// besideDelete are the choices that go with a DELETE. Until the session is synced
// again the disk of the connector that has it holds the only copy, and losing that
// is losing the session: that is what DELETE means, and nothing to find fault with.
// A session that its operator closes is nobody's then, and one that its phone
// unlinks is not synced again.
var besideDelete = slices.DeleteFunc(slices.Clone(choices), func(c choice) bool {
	return c.kind.losesDisk() || c.kind == CloseOpen || c.kind == Unlink
})

// deletion is a schedule around DELETE, in which no disk is lost. What frees the
// session on purpose waits for the DELETE: of a session that nobody holds just then
// there is nothing left.
func deletion(r *rand.Rand, machines, lines int, length time.Duration) []Action {
	line := r.IntN(lines)
	actions := []Action{{At: seconds(r, 0, length.Seconds()*0.5), Kind: Delete, Line: line, For: seconds(r, 0, 8)}}
	for range 1 + r.IntN(5) {
		a := draw(r, besideDelete, machines, lines, length)
		if r.IntN(2) == 0 {
			a.Line = line
		}
		switch a.Kind {
		case Stop, Drain, Restore, MoveTo:
			a.Deleted, a.At = true, max(a.At, actions[0].At)
		default:
		}
		actions = append(actions, a)
	}
	return actions
}

// losesDisk reports whether what is on a machine's disk is gone afterwards, or
// some of it.
func (k Kind) losesDisk() bool { return k == KillEmpty || k == KillOld || k == KillPast }

// handling is how long ending and starting a process may take, beside For.
const handling = time.Second

// apart puts actions in order, and sees to it that no process is to be ended or
// frozen while another action has it: that one would be skipped. It is done to the
// next machine that is free then; where none is, it is left out.
func apart(actions []Action, machines int) []Action {
	slices.SortStableFunc(actions, func(x, y Action) int { return cmp.Compare(x.At, y.At) })
	busy := make([]time.Duration, machines) // until when
	var kept []Action
	for _, a := range actions {
		if a.hasProcess() {
			first := a.Machine
			for busy[a.Machine] > a.At {
				if a.Machine = (a.Machine + 1) % machines; a.Machine == first {
					break
				}
			}
			if busy[a.Machine] > a.At {
				continue
			}
			busy[a.Machine] = a.At + a.For + a.Away + handling
		}
		kept = append(kept, a)
	}
	return kept
}

// seconds is a random time in whole milliseconds.
func seconds(r *rand.Rand, from, to float64) time.Duration {
	return time.Duration((from + (to-from)*r.Float64()) * float64(time.Second)).Truncate(time.Millisecond)
}
