package replicate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cloudsession/connector/capture"
	"cloudsession/shared/sessionlog"
)

// maxEpochs is how many epochs a reader may have to walk before a base is worth while.
const maxEpochs = 50

// baseReason is why a push is a base, if it is one.
type baseReason int

const (
	noBase       baseReason = iota
	baseNeeded              // the term or a changed schema begins with one
	baseAsked               // Rebase
	baseCompacts            // it weighs less than the deltas
)

// baseDue decides between a base and a delta (L2). A due compaction waits while somebody waits for a
// push, unless it is long overdue: a base takes longer. One that failed is left alone for a while.
func (s *Session) baseDue() baseReason {
	if s.needBase {
		return baseNeeded
	}
	hurry := false
	for _, q := range s.waiting {
		if q.kind == wantBase {
			return baseAsked
		}
		hurry = hurry || q.kind == wantDurable
	}
	if time.Now().Before(s.compactAfter) {
		return noBase
	}
	weight := s.size.DeltaBytes
	if hurry {
		weight /= 2
	}
	if weight >= s.r.opt.CompactBytes && weight > s.size.BaseBytes || s.size.Epochs > maxEpochs {
		return baseCompacts
	}
	return noBase
}

// choose decides between a base and a delta, and takes the slot that it needs. It reports false if the
// session has to wait for one.
func (s *Session) choose() (why baseReason, ok bool) {
	why = s.baseDue()
	if why == baseCompacts && !s.trySlot() {
		why = noBase // it can wait, the changes can't
	}
	if why == noBase && !s.long {
		return why, true
	}
	return why, s.takeSlot()
}

// readBase reads all rows, unless they are more than a push can hold.
func (s *Session) readBase(ctx context.Context) (capture.Changes, error) {
	c, err := s.file.BaseUpTo(ctx, s.r.opt.MaxBase)
	if errors.Is(err, capture.ErrLong) { // of a delta it would say that a slot is needed
		err = fmt.Errorf("read base: the session's rows weigh more than %d bytes: %w", s.r.opt.MaxBase, sessionlog.ErrTooLarge)
	}
	return c, err
}

// putOffCompaction goes on with deltas after a base could not be made. They say all that it would have
// said; a session that pushes nothing loses what comes next.
func (s *Session) putOffCompaction(err error) {
	s.compactAfter = time.Now().Add(s.r.opt.CompactPause)
	s.log.Error("log can't be compacted, going on with deltas", "session", s.term.SessionID, "epoch", s.term.Epoch,
		"again_in", s.r.opt.CompactPause, "error", err)
}
