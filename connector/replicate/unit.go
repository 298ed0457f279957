package replicate

import (
	"math/rand/v2"
	"sync/atomic"
	"time"

	"cloudsession/shared/cloudstore"
)

// unit is what one session has in a lane: the rows of one push, a seal, or a credentials row. A lane
// sends the same bytes until their outcome is known; nothing is encoded twice (P2).
type unit struct {
	sessionID string
	epoch     uint64
	segs      []cloudstore.Segment    // not yet known durable, in the order of seq
	creds     *cloudstore.Credentials // written together with the last of segs, or alone

	done chan struct{} // closed once err is set
	err  error         // nil: durable. ErrFenced: somebody else's row stands there

	withdrawn atomic.Bool // the session doesn't care any more
	refused   atomic.Bool // tried so often for its own sake that it may never get through
	onRetry   func(error) // told why the unit has to be sent again

	suspect   bool // it may be what a statement failed for: it is sent by itself
	notBefore time.Time
	pause     time.Duration
}

// alone reports whether the unit's next step is a transaction of its own.
func (u *unit) alone() bool { return u.creds != nil && len(u.segs) <= 1 }

// groupable returns the rows that may go into a statement with other sessions' rows.
func (u *unit) groupable() []cloudstore.Segment {
	if u.creds != nil {
		return u.segs[:len(u.segs)-1]
	}
	return u.segs
}

func (u *unit) finish(err error) {
	u.err = err
	close(u.done)
}

// settle takes the outcomes of the first len(outcomes) rows. It reports whether the unit is finished.
func (u *unit) settle(outcomes []cloudstore.Outcome) (finished bool) {
	durable := 0
	for i, o := range outcomes {
		switch {
		case o == cloudstore.Fenced:
			u.finish(ErrFenced)
			return true
		case o == cloudstore.Durable && durable == i:
			durable++
		}
	}
	u.segs = u.segs[durable:]
	if durable > 0 {
		u.pause, u.suspect = 0, false
	}
	if len(u.segs) == 0 && u.creds == nil {
		u.finish(nil)
		return true
	}
	return false
}

// backoff doubles a pause between low and high and returns it with the time to wait: half of it fixed,
// half of it chance, so that sessions and lanes that failed together don't come back together.
func backoff(pause, low, high time.Duration) (next, wait time.Duration) {
	next = min(max(2*pause, low), high)
	return next, next/2 + rand.N(next/2+1) //nolint:gosec // jitter, not a secret
}
