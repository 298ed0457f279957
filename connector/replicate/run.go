package replicate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"cloudsession/connector/capture"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/sessionlog"
)

// worker is the part of a Session that its goroutine alone touches.
type worker struct {
	file   *capture.File
	cursor sessionlog.Cursor // the last row known durable, as the next push chains to it

	push *push // sent, or durable and not yet acknowledged in the file; nil: none (P2)
	seal *unit // the seal, once sent

	creds      *unit // the credentials row on its way
	credsDirty bool  // it has to be written (again)
	credsSum   [32]byte
	asked      bool // whether the session may be closed, by a last write of the credentials

	needBase   bool // only a base may be pushed next
	long       bool // more is noted than a short delta holds
	basePushed bool // this term has a base that is durable
	size       LogSize

	compactAfter time.Time // until then no base is made for its own sake: the last try failed

	urgent   bool // look for changes without waiting for more
	holdSlot bool // one of the lane's slots is held
	parked   bool // it is lent to others meanwhile
	wantSlot bool // none was free: wait to be poked

	waiting []*request // not covered by a read yet
	covered []*request // wait for push
	synced  []*request // wait for the credentials row
	sealers []*request // wait for seal

	pause   time.Duration // after the file could not be read or written
	retryAt time.Time
}

// run does one thing after the other until the session is over.
func (s *Session) run() {
	defer close(s.done)
	err := s.loop()
	s.mu.Lock()
	s.err = err
	rest := s.requests
	s.requests = nil
	s.mu.Unlock()

	for _, list := range [][]*request{s.waiting, s.covered, s.synced, s.sealers, rest} {
		for _, q := range list {
			q.answer(err)
		}
	}
	for _, u := range []*unit{s.creds, s.seal} {
		if u != nil {
			u.withdrawn.Store(true)
		}
	}
	if s.push != nil {
		s.push.unit.withdrawn.Store(true)
	}
	s.releaseSlot()
	s.lane.slots.leave(s)
	s.r.forget(s)
}

func (s *Session) loop() error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if err := s.step(s.r.ctx); err != nil {
			return err
		}
		next, any := s.nextStep()
		if any {
			timer.Reset(time.Until(next))
		} else {
			timer.Stop()
		}
		var pushed, written, sealed <-chan struct{}
		if s.push != nil && !s.push.durable {
			pushed = s.push.unit.done
		}
		if s.creds != nil {
			written = s.creds.done
		}
		if s.seal != nil {
			sealed = s.seal.done
		}
		select {
		case <-s.stopping:
			return ErrClosed
		case <-s.r.ctx.Done():
			return ErrClosed
		case <-s.wake:
			s.wantSlot = false
		case <-timer.C:
		case <-pushed:
		case <-written:
		case <-sealed:
		}
	}
}

// step does everything that can be done now. An error ends the session.
func (s *Session) step(ctx context.Context) error {
	s.collect()
	for _, do := range []func(context.Context) error{
		s.pushDone, s.credentialsDone, s.sealDone, s.reopen, s.startPush, s.startCredentials, s.startSeal,
	} {
		if err := do(ctx); err != nil {
			return err
		}
	}
	s.parkSlot()
	s.notePending()
	return nil
}

// collect takes the new requests and forgets those whose callers have gone.
func (s *Session) collect() {
	s.mu.Lock()
	s.waiting = append(s.waiting, s.requests...)
	s.requests = nil
	s.mu.Unlock()
	s.waiting = stillWanted(s.waiting)
	s.synced = stillWanted(s.synced)
}

// stillWanted drops the requests whose callers have gone. They get no answer: ask returns by the end of the
// context, and says what the cause was.
func stillWanted(list []*request) []*request {
	return slices.DeleteFunc(list, func(q *request) bool { return q.ctx.Err() != nil })
}

// nextStep returns when there is something to do that no channel tells of.
func (s *Session) nextStep() (at time.Time, any bool) {
	switch {
	case s.push != nil && s.push.durable:
		return s.retryAt, true
	case s.credsDirty && s.creds == nil && s.push == nil && s.seal == nil:
		return s.retryAt, true
	case s.push != nil || s.seal != nil || s.wantSlot:
		return time.Time{}, false
	}
	if !s.retryAt.IsZero() && len(s.synced) > 0 {
		return s.retryAt, true
	}
	return s.pushDue()
}

// pushDue returns when the next read for a push is due (P1).
func (s *Session) pushDue() (at time.Time, any bool) {
	s.mu.Lock()
	since, last := s.dirtySince, s.lastChange
	s.mu.Unlock()
	switch {
	case s.urgent || len(s.waiting) > 0:
		at = time.Now()
	case !since.IsZero():
		at = last.Add(s.r.opt.Coalesce)
		if limit := since.Add(s.r.opt.MaxWait); at.After(limit) {
			at = limit
		}
	default:
		return time.Time{}, false
	}
	if at.Before(s.retryAt) {
		at = s.retryAt
	}
	return at, true
}

// local handles an error of the session file: the step is tried again, unless the file is gone.
func (s *Session) local(what string, err error) error {
	if errors.Is(err, context.Canceled) && s.r.ctx.Err() != nil {
		return ErrClosed
	}
	err = fmt.Errorf("%s of session %s: %w", what, s.term.SessionID, err)
	if errors.Is(err, capture.ErrClosed) || errors.Is(err, capture.ErrNotInFlight) {
		return err
	}
	var wait time.Duration
	s.pause, wait = backoff(s.pause, s.r.opt.RetryMin, s.r.opt.RetryMax)
	s.retryAt = time.Now().Add(wait)
	s.log.Error("session file can't be replicated, trying again", "session", s.term.SessionID, "epoch", s.term.Epoch, "error", err)
	s.noteError(err)
	return nil
}

// localOK forgets the pause of earlier errors.
func (s *Session) localOK() { s.pause, s.retryAt = 0, time.Time{} }

// resting reports whether the file is left alone for a while after an error.
func (s *Session) resting() bool { return time.Now().Before(s.retryAt) }

// reopen swaps the handle of the file.
func (s *Session) reopen(ctx context.Context) error {
	for i, q := range s.waiting {
		if q.kind != wantReopen {
			continue
		}
		s.waiting = append(s.waiting[:i:i], s.waiting[i+1:]...)
		if err := s.swap(q); err != nil {
			err = fmt.Errorf("reopen file of session %s: %w", s.term.SessionID, err)
			q.answer(err)
			return err
		}
		s.urgent = true
		q.answer(nil)
		return s.reopen(ctx)
	}
	return nil
}

func (s *Session) swap(q *request) error {
	f, err := q.open(q.ctx)
	if err != nil {
		return err
	}
	s.file = f
	state, err := f.State(q.ctx)
	if err != nil {
		return err
	}
	if state.SessionID != s.term.SessionID || state.Epoch != s.term.Epoch {
		return fmt.Errorf("%s is the file of session %s, epoch %d", f.Path(), state.SessionID, state.Epoch)
	}
	return nil
}

// startSeal ends the log once somebody wants it and nothing is left to push (O6).
func (s *Session) startSeal(ctx context.Context) error {
	if s.creds != nil || s.credsDirty || s.resting() {
		return nil
	}
	var sealers []*request
	for _, q := range s.synced {
		if q.kind == wantSeal {
			sealers = append(sealers, q)
		} else {
			q.answer(nil)
		}
	}
	sealers = stillWanted(sealers)
	s.synced = sealers
	if len(sealers) == 0 || s.push != nil || s.seal != nil {
		return nil
	}
	if s.Backup() == cloudstore.BackupCredentials {
		if !s.asked { // no seal meets the mark of a DELETE here: this write does
			s.asked, s.credsDirty = true, true
			s.poke()
			return nil
		}
		for _, q := range sealers {
			q.answer(nil)
		}
		return ErrSealed
	}
	_, dirty, err := s.file.Delta(ctx)
	if errors.Is(err, capture.ErrNeedBase) {
		dirty, err = true, nil
	}
	if err != nil {
		return s.local("look for changes", err)
	}
	if dirty { // not yet, then
		s.synced, s.waiting = nil, append(s.waiting, sealers...)
		s.poke()
		return nil
	}
	seg, err := sessionlog.SealTerminator(s.r.keys, s.term.SessionID, s.salt, s.cursor)
	if err != nil {
		return fmt.Errorf("seal log of session %s: %w", s.term.SessionID, err)
	}
	s.seal = s.newUnit([]cloudstore.Segment{seg}, nil)
	s.synced, s.sealers = nil, sealers
	s.lane.submit(s.seal)
	return nil
}

// sealDone ends the session when the seal's outcome is known.
func (s *Session) sealDone(context.Context) error {
	if s.seal == nil {
		return nil
	}
	late := s.waiting
	s.waiting = nil
	for _, q := range late {
		if q.kind == wantSeal {
			s.sealers = append(s.sealers, q)
		} else {
			q.answer(ErrSealed)
		}
	}
	select {
	case <-s.seal.done:
	default:
		return nil
	}
	if s.seal.err != nil {
		return s.fenced()
	}
	for _, q := range s.sealers {
		q.answer(nil)
	}
	s.log.Debug("log is sealed", "session", s.term.SessionID, "epoch", s.term.Epoch, "seq", s.cursor.Seq+1)
	return ErrSealed
}

func (s *Session) fenced() error {
	s.r.opt.Observer.Fenced()
	s.log.Debug("the log of this term has ended elsewhere; nothing is pushed any more",
		"session", s.term.SessionID, "epoch", s.term.Epoch)
	return fmt.Errorf("session %s, epoch %d: %w", s.term.SessionID, s.term.Epoch, ErrFenced)
}
