package replicate

import "sync"

// slotsPerLane bounds the bases and long deltas that a lane's sessions hold in memory at once, so that
// a thousand sessions that start safely, or come out of an outage, don't need a thousand times as much.
const slotsPerLane = 2

// maxParked bounds the slots that are lent out a second time because what holds them gets nowhere. So no
// more than slotsPerLane+maxParked bases and long deltas are in memory, however many are refused.
const maxParked = 6

// slots is a semaphore that never blocks: who gets none is poked when one comes free.
type slots struct {
	mu      sync.Mutex
	free    int
	parked  int // held by pushes that are refused, and lent to others meanwhile
	waiting map[*Session]struct{}
}

// try takes a slot if one is free.
func (l *slots) try() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.free == 0 {
		return false
	}
	l.free--
	return true
}

// acquire takes a slot, or has s wait for one.
func (l *slots) acquire(s *Session) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.free > 0 {
		l.free--
		delete(l.waiting, s)
		return true
	}
	if l.waiting == nil {
		l.waiting = map[*Session]struct{}{}
	}
	l.waiting[s] = struct{}{}
	return false
}

// release gives a slot back.
func (l *slots) release() {
	l.mu.Lock()
	waiting := l.freeOne()
	l.mu.Unlock()
	pokeAll(waiting)
}

// park lends to others a slot whose holder waits for nothing but the cloud's yes; false if as many are
// lent already as may be. Its holder calls unpark instead of release then.
func (l *slots) park() bool {
	l.mu.Lock()
	if l.parked >= maxParked {
		l.mu.Unlock()
		return false
	}
	l.parked++
	waiting := l.freeOne()
	l.mu.Unlock()
	pokeAll(waiting)
	return true
}

func (l *slots) unpark() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.parked--
}

// freeOne returns everybody who waits, to be poked: one that has stopped meanwhile must not keep the
// others waiting. The mutex is held.
func (l *slots) freeOne() map[*Session]struct{} {
	l.free++
	waiting := l.waiting
	l.waiting = nil
	return waiting
}

func pokeAll(waiting map[*Session]struct{}) {
	for s := range waiting {
		s.poke()
	}
}

// leave forgets a session that stops while it waits.
func (l *slots) leave(s *Session) {
	l.mu.Lock()
	delete(l.waiting, s)
	l.mu.Unlock()
}

// takeSlot takes a slot; if none is free, the session is poked when one is.
func (s *Session) takeSlot() bool {
	if !s.holdSlot {
		s.holdSlot = s.lane.slots.acquire(s)
		s.wantSlot = !s.holdSlot
	}
	return s.holdSlot
}

// trySlot takes a slot if one is free.
func (s *Session) trySlot() bool {
	s.holdSlot = s.holdSlot || s.lane.slots.try()
	return s.holdSlot
}

// parkSlot lends the slot of a push that is refused again and again to others: it may be so for ever, and
// two such sessions would keep all others of the lane from pushing a base.
func (s *Session) parkSlot() {
	if s.push != nil && !s.push.durable && s.push.unit.refused.Load() && s.holdSlot && !s.parked {
		s.parked = s.lane.slots.park()
	}
}

func (s *Session) releaseSlot() {
	switch {
	case s.parked:
		s.lane.slots.unpark()
	case s.holdSlot:
		s.lane.slots.release()
	}
	s.holdSlot, s.parked = false, false
}
