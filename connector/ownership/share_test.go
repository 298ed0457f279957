package ownership

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

// seed is CLOUDSESSION_SEED, or random; it is printed.
func seed(t *testing.T) uint64 {
	t.Helper()
	n := rand.Uint64()
	if text := os.Getenv("CLOUDSESSION_SEED"); text != "" {
		var err error
		if n, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("CLOUDSESSION_SEED: %v", err)
		}
	}
	t.Logf("CLOUDSESSION_SEED=%d", n)
	return n
}

// world is a database and the connectors that sweep it, on a simulated clock.
type world struct {
	now   time.Duration
	rng   *rand.Rand
	owner map[string]*machine // nil: free
	all   []*machine
	ids   []string

	takes, collisions int
}

// machine is a connector. Its row is what the others know of it.
type machine struct {
	id            string
	capacity      int
	held          int // sessions it has, those it is about to take included
	row           int // sessions, as of its last renewal
	dead          bool
	slow          bool // renews, and opens nothing
	nextBeat      time.Duration
	share         Share
	work          []string
	busyUntil     time.Duration
	mostEverHeld  int
	takenThisTime int
}

const (
	tick     = 10 * time.Millisecond
	takeTime = 10 * time.Millisecond
)

func newWorld(rng *rand.Rand, sessions int, capacities ...int) *world {
	w := &world{rng: rng, owner: map[string]*machine{}}
	for i, c := range capacities {
		w.all = append(w.all, &machine{
			id: fmt.Sprintf("connector-%d", i), capacity: c, nextBeat: time.Duration(rng.Int64N(int64(RenewEvery))),
		})
	}
	for i := range sessions {
		id := fmt.Sprintf("session %d", i)
		w.ids = append(w.ids, id)
		w.owner[id] = nil
	}
	return w
}

func (w *world) peers() (peers []Peer) {
	for _, m := range w.all {
		if !m.dead {
			peers = append(peers, Peer{m.id, m.capacity - m.row})
		}
	}
	return peers
}

func (w *world) free() (free []Candidate) {
	for _, id := range w.ids {
		if w.owner[id] == nil {
			free = append(free, Candidate{SessionID: id})
		}
	}
	return free
}

// kill frees a machine's sessions, as after its burial.
func (w *world) kill(m *machine) {
	m.dead = true
	for _, id := range w.ids {
		if w.owner[id] == m {
			w.owner[id] = nil
		}
	}
}

// step is a tick: whose time has come renews and sweeps; whoever has work takes.
func (w *world) step() {
	w.now += tick
	for _, m := range w.all {
		if !m.dead && w.now >= m.nextBeat {
			m.nextBeat = w.now + RenewEvery - time.Duration(w.rng.Int64N(int64(RenewEvery/10)))
			m.row = m.held
			if !m.slow {
				w.sweep(m)
			}
		}
		for !m.dead && len(m.work) > 0 && w.now >= m.busyUntil {
			w.take(m)
		}
	}
}

func (w *world) sweep(m *machine) {
	waiting := map[string]bool{} // counts as held already
	for _, id := range m.work {
		waiting[id] = true
	}
	candidates := w.free()
	for i, c := range candidates {
		candidates[i].Underway = waiting[c.SessionID]
	}
	chosen := m.share.Choose(w.now, m.id, m.capacity-m.held, w.peers(), candidates)
	w.rng.Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
	m.work = append(m.work, chosen...)
	m.held += len(chosen)
	m.mostEverHeld = max(m.mostEverHeld, m.held)
}

func (w *world) take(m *machine) {
	id := m.work[0]
	m.work = m.work[1:]
	if !m.share.Free(id) { // somebody has it, as the last sweep saw
		m.held--
		return
	}
	m.busyUntil = w.now + takeTime
	w.takes++
	if w.owner[id] != nil {
		w.collisions++
		m.held--
		return
	}
	w.owner[id] = m
	m.takenThisTime++
}

// settle steps until every session is held, or for at most limit.
func (w *world) settle(limit time.Duration) (took time.Duration, settled bool) {
	start := w.now
	for w.now-start < limit {
		w.step()
		if !slices.ContainsFunc(w.ids, func(id string) bool { return w.owner[id] == nil }) {
			return w.now - start, true
		}
	}
	return limit, false
}

// O3: a dead connector's sessions spread over the others by their free capacity,
// none above its own, with hardly a take in vain.
func TestO3FairShare(t *testing.T) {
	rng := rand.New(rand.NewPCG(seed(t), 1))
	for round := range 12 {
		machines := 3 + rng.IntN(5)
		capacities := make([]int, machines)
		total := 0
		for i := range capacities {
			capacities[i] = 400 + rng.IntN(1200)
			total += capacities[i]
		}
		// As many as fit once the largest two have died.
		slices.Sort(capacities)
		room := total - capacities[machines-1] - capacities[machines-2]
		w := newWorld(rng, min(2000, room*8/10), capacities...)
		if _, ok := w.settle(3 * time.Minute); !ok {
			t.Fatalf("round %d: %d sessions are not held at first", round, len(w.free()))
		}
		for range 2 {
			w.checkDeath(t, round)
		}
		for _, m := range w.all {
			if m.mostEverHeld > m.capacity {
				t.Errorf("round %d: %s held %d, capacity %d", round, m.id, m.mostEverHeld, m.capacity)
			}
		}
		if w.collisions*50 > w.takes {
			t.Errorf("round %d: %d of %d takes were in vain, want at most 2 %%", round, w.collisions, w.takes)
		}
	}
}

// checkDeath kills a connector and checks who takes how many of its sessions.
func (w *world) checkDeath(t *testing.T, round int) {
	t.Helper()
	living := slices.DeleteFunc(slices.Clone(w.all), func(m *machine) bool { return m.dead })
	victim := living[w.rng.IntN(len(living))]
	w.kill(victim)
	orphans, room := len(w.free()), 0
	before := map[*machine]int{}
	for _, m := range living {
		if m != victim {
			before[m] = m.capacity - m.held
			room += m.capacity - m.held
			m.takenThisTime = 0
		}
	}
	// The slowest takes its share one after the other; nobody needs the grace.
	took, ok := w.settle(RenewEvery + time.Duration(orphans)*takeTime + 2*ShareGrace)
	if !ok {
		t.Errorf("round %d: %d of %d sessions are not held after %v", round, len(w.free()), orphans, took)
	}
	for m, free := range before {
		// Five standard deviations of the draw, and what the rows' age is worth.
		p := float64(free) / float64(room)
		want := p * float64(orphans)
		slack := 5*math.Sqrt(float64(orphans)*p*(1-p)) + 0.1*want + 5
		if d := math.Abs(float64(m.takenThisTime) - want); d > slack {
			t.Errorf("round %d: %s took %d of %d, its share is %.0f ± %.0f", round, m.id, m.takenThisTime, orphans, want, slack)
		}
	}
}

// O3: no session stays behind because the connector that should have it is slow.
func TestO3GraceForTheSlow(t *testing.T) {
	rng := rand.New(rand.NewPCG(seed(t), 2))
	w := newWorld(rng, 300, 1000, 1000, 1000)
	w.all[0].slow = true
	if took, ok := w.settle(2 * time.Minute); !ok {
		t.Fatalf("%d sessions are not held after %v", len(w.free()), took)
	}
	if w.all[0].held != 0 {
		t.Errorf("the slow one holds %d", w.all[0].held)
	}
	for _, m := range w.all[1:] {
		if m.held < 100 {
			t.Errorf("%s holds %d of 300", m.id, m.held)
		}
	}
	if w.collisions*50 > w.takes {
		t.Errorf("%d of %d takes were in vain", w.collisions, w.takes)
	}
}

// O3: when there is more than fits, everybody fills up and nobody overflows.
func TestO3WithinCapacity(t *testing.T) {
	rng := rand.New(rand.NewPCG(seed(t), 3))
	w := newWorld(rng, 500, 100, 150, 50)
	w.settle(2 * time.Minute)
	for _, m := range w.all {
		if m.held != m.capacity || m.mostEverHeld > m.capacity {
			t.Errorf("%s holds %d, once %d, of %d", m.id, m.held, m.mostEverHeld, m.capacity)
		}
	}
	if n := len(w.free()); n != 200 {
		t.Errorf("%d sessions are free, want 200", n)
	}
}

func TestShareChoose(t *testing.T) {
	candidates := []Candidate{{SessionID: "a"}, {SessionID: "reserved", Reserved: true}, {SessionID: "b"}}
	if got := new(Share).Choose(0, "me", 1, []Peer{{"me", 10}}, candidates); !slices.Equal(got, []string{"reserved"}) {
		t.Errorf("with room for one: %q, want the reserved one", got)
	}
	if got := new(Share).Choose(0, "me", 9, nil, candidates); !slices.Equal(got, []string{"reserved"}) {
		t.Errorf("not among the connectors that take: %q", got)
	}
	if got := new(Share).Choose(0, "me", 0, []Peer{{"me", 10}}, candidates); len(got) != 0 {
		t.Errorf("full: %q", got)
	}
	// Whoever is not first for a session waits, and forgets when it is held again.
	var other Share
	peers := []Peer{{"me", 1}, {"big", math.MaxInt32}}
	one := []Candidate{{SessionID: "x"}}
	for _, step := range []struct {
		at   time.Duration
		free []Candidate
		want int
	}{{0, one, 0}, {ShareGrace - 1, one, 0}, {ShareGrace, nil, 0}, {ShareGrace + 1, one, 0}, {2*ShareGrace + 1, one, 1}} {
		if got := other.Choose(step.at, "me", 9, peers, step.free); len(got) != step.want {
			t.Errorf("after %v: %q, want %d", step.at, got, step.want)
		}
	}
}
