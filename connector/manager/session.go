package manager

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"cloudsession/connector/capture"
	"cloudsession/connector/replicate"
	"cloudsession/connector/whatsapp"
	"cloudsession/shared/cloudstore"
)

// session is this process's view of one session, open or not.
type session struct {
	id    string
	files sessionFiles
	log   *slog.Logger

	// mu is held while the session is opened, paired, closed or moved: one
	// change at a time. It is taken before view, never after.
	mu sync.Mutex

	kept int // how many hold its place while it is closed and opened again; guarded by Manager.mu

	reporting sync.Mutex // held while an ending is written

	view     sync.Mutex
	open     *opened
	state    whatsapp.State
	detail   string
	reported bool // the state is in TiDB
	pace     pace
	clones   clones
	working  bool    // background work on this session is under way
	ending   *ending // not yet in TiDB
	failover string  // as the owner row said last; "" before that
}

// opened is a session held under an epoch of ours.
type opened struct {
	taken cloudstore.Taken
	file  *capture.File
	wa    *whatsapp.Session
	rep   *replicate.Session
	safe  bool          // stale Signal state was dropped when the term began
	local atomic.Bool   // the cloud copy was deleted: nothing is pushed until a sync
	fresh atomic.Bool   // made by a pairing that has not succeeded yet
	gone  chan struct{} // closed when this is no longer the session's current state

	own       bool // it goes on with the file that this machine had
	fromCloud bool // its file was built from the log
	leaving   bool // has no socket: taken only to be given up
	rest      bool // has ended: taken only so that what is left of it is delivered

	protection protection // when incoming messages may be acknowledged (A1)
	delivery   *delivery  // of its messages to the application; nil without a webhook
}

func (s *session) current() *opened {
	s.view.Lock()
	defer s.view.Unlock()
	return s.open
}

func (s *session) setCurrent(o *opened) {
	s.view.Lock()
	defer s.view.Unlock()
	if s.open != nil && s.open != o {
		close(s.open.gone)
	}
	s.open = o
}

// epochNow is the epoch the session is held under, 0 when it isn't.
func (s *session) epochNow() uint64 {
	if o := s.current(); o != nil {
		return o.taken.Epoch
	}
	return 0
}

func (s *session) setState(state whatsapp.State, detail string) {
	s.view.Lock()
	defer s.view.Unlock()
	if s.state != state || s.detail != detail {
		s.state, s.detail, s.reported = state, detail, false
	}
}

func (s *session) stateNow() (whatsapp.State, string) {
	s.view.Lock()
	defer s.view.Unlock()
	return s.state, s.detail
}

func (s *session) claimBackground() bool {
	s.view.Lock()
	defer s.view.Unlock()
	if s.working {
		return false
	}
	s.working = true
	return true
}

func (s *session) busy() bool {
	s.view.Lock()
	defer s.view.Unlock()
	return s.working
}

func (s *session) releaseBackground() {
	s.view.Lock()
	defer s.view.Unlock()
	s.working = false
}

// pace spaces out attempts on a session that keep failing.
type pace struct {
	failures int
	notUntil time.Time
}

const (
	firstPause = 2 * time.Second
	longPause  = 5 * time.Minute
)

func (s *session) failed(now time.Time) {
	s.view.Lock()
	defer s.view.Unlock()
	pause := min(firstPause<<min(s.pace.failures, 10), longPause)
	s.pace.failures++
	s.pace.notUntil = now.Add(pause)
}

func (s *session) succeeded() {
	s.view.Lock()
	defer s.view.Unlock()
	s.pace = pace{}
}

// clones counts how often another client with the same keys took the session's
// place (O8). A quiet time starts the count anew.
type clones struct {
	count int
	last  time.Time
}

const quietTime = 10 * time.Minute

// cloned notes one more and lets the session rest, longer each time.
func (s *session) cloned(now time.Time) (count int) {
	s.view.Lock()
	defer s.view.Unlock()
	if now.Sub(s.clones.last) > quietTime {
		s.clones.count = 0
	}
	s.clones.count++
	s.clones.last = now
	s.pace.notUntil = now.Add(min(firstPause<<min(s.clones.count, 10), longPause))
	return s.clones.count
}

// ended reports whether the session has ended for good and TiDB doesn't say so
// yet: until then a sweep must leave it alone.
func (s *session) ended() bool {
	s.view.Lock()
	defer s.view.Unlock()
	return s.ending != nil && s.ending.until.IsZero()
}

func (s *session) resting(now time.Time) bool {
	s.view.Lock()
	defer s.view.Unlock()
	return now.Before(s.pace.notUntil)
}

// rest keeps sweeps away until then.
func (s *session) rest(until time.Time) {
	s.view.Lock()
	defer s.view.Unlock()
	s.pace.notUntil = until
}

func (s *session) setEnding(e *ending) {
	s.view.Lock()
	defer s.view.Unlock()
	s.ending = e
}

func (s *session) endingNow() *ending {
	s.view.Lock()
	defer s.view.Unlock()
	return s.ending
}

// clearEnding forgets e, unless a later one has taken its place.
func (s *session) clearEnding(e *ending) {
	s.view.Lock()
	defer s.view.Unlock()
	if s.ending == e {
		s.ending = nil
	}
}

func (s *session) setFailover(failover string) {
	s.view.Lock()
	defer s.view.Unlock()
	s.failover = failover
}

func (s *session) failoverNow() string {
	s.view.Lock()
	defer s.view.Unlock()
	return s.failover
}
