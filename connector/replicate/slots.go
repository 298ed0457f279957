package replicate

import "sync"

// slotsPerLane bounds the bases and long deltas that a lane's sessions hold in memory at once, so that
// a thousand sessions that start safely, or come out of an outage, don't need a thousand times as much.
const slotsPerLane = 2

// slots is a semaphore that never blocks: who gets none is poked when one comes free.
type slots struct {
	mu      sync.Mutex
	free    int
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

// release pokes everybody who waits: one that has stopped meanwhile must not keep the others waiting.
func (l *slots) release() {
	l.mu.Lock()
	l.free++
	waiting := l.waiting
	l.waiting = nil
	l.mu.Unlock()
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

func (s *Session) releaseSlot() {
	if s.holdSlot {
		s.holdSlot = false
		s.lane.slots.release()
	}
}
