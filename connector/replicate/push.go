package replicate

import (
	"context"
	"errors"
	"time"

	"cloudsession/connector/capture"
	"cloudsession/connector/logctx"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/sessionlog"
)

// push is the one push of a session that is under way.
type push struct {
	unit        *unit
	inFlight    capture.InFlight
	credentials bool // the credentials changed with it
	durable     bool // and not yet acknowledged in the file
	compaction  bool
	since       time.Time // the oldest change in it was noticed
}

// startPush reads what changed and sends it, if that is due and nothing else is under way.
func (s *Session) startPush(ctx context.Context) error {
	due, any := s.pushDue()
	if s.push != nil || s.seal != nil || s.wantSlot || !any || due.After(time.Now()) {
		return nil
	}
	switch s.Backup() {
	case cloudstore.BackupOff:
		s.nothingToPush(ErrBackupOff)
		return nil
	case cloudstore.BackupCredentials:
		return s.checkCredentials(ctx)
	}
	why, ok := s.choose()
	if !ok {
		return nil
	}
	base := why != noBase
	since := s.takeDirty()
	changes, found, err := s.read(ctx, base)
	switch {
	case s.needsSlot(err):
		s.putDirty(since)
		s.urgent = true
		return s.startPush(ctx)
	case err != nil:
		return s.notPushed(ctx, why, since, "read changes", err)
	case !changes.HasDevice && (found || base): // P6
		s.releaseSlot()
		s.nothingToPush(ErrNoDevice)
		return nil
	case !found:
		s.releaseSlot()
		s.localOK()
		s.clean()
		return nil
	}
	if err := s.send(ctx, changes, push{since: since, compaction: why == baseCompacts}); err != nil {
		return s.notPushed(ctx, why, since, "push changes", err)
	}
	s.localOK()
	return nil
}

// notPushed undoes a push that came to nothing before it was sent. A compaction leaves its turn to a delta.
func (s *Session) notPushed(ctx context.Context, why baseReason, since time.Time, what string, err error) error {
	s.putDirty(since)
	s.releaseSlot()
	if why != baseCompacts || ctx.Err() != nil {
		return s.local(what, err)
	}
	s.putOffCompaction(err)
	s.urgent = true // the read was due
	return s.startPush(ctx)
}

// takeDirty notes that a read is about to cover all changes so far, and returns the time of the first.
func (s *Session) takeDirty() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	since := s.dirtySince
	s.dirtySince = time.Time{}
	if since.IsZero() {
		since = time.Now()
	}
	s.status.Since = since
	return since
}

// putDirty undoes takeDirty after a read that came to nothing.
func (s *Session) putDirty(since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dirtySince = since
	s.status.Since = time.Time{}
	if s.lastChange.IsZero() {
		s.lastChange = since
	}
}

// shortDelta is how many bytes of changes a session may hold in memory at any time, as a thousand others
// may. More of them take one of the lane's slots: after an outage every session has much to push.
const shortDelta = 64 << 10

func (s *Session) read(ctx context.Context, base bool) (capture.Changes, bool, error) {
	s.long = false
	switch {
	case base:
		c, err := s.readBase(ctx)
		return c, true, err
	case s.holdSlot:
		return s.file.Delta(ctx)
	}
	return s.file.DeltaUpTo(ctx, shortDelta)
}

// needsSlot notes why a read came to nothing: a base is to be pushed, or a long delta.
func (s *Session) needsSlot(err error) bool {
	base := errors.Is(err, capture.ErrNeedBase)
	s.needBase, s.long = s.needBase || base, errors.Is(err, capture.ErrLong)
	return base || s.long
}

// clean notes that a read found nothing to push.
func (s *Session) clean() {
	s.urgent = false
	s.cover()
	s.pushed(nil)
}

// nothingToPush tells everybody who waits why nothing is pushed.
func (s *Session) nothingToPush(why error) {
	s.takeDirty()
	s.localOK()
	s.urgent = false
	for _, q := range s.waiting {
		q.answer(why)
	}
	s.waiting = nil
}

// cover moves the requests that the read just made answers from waiting to covered.
func (s *Session) cover() {
	s.covered = append(s.covered, s.waiting...)
	s.waiting = nil
}

// pushed answers the requests that the last read covered: what it found is durable.
func (s *Session) pushed(p *push) {
	for _, q := range s.covered {
		switch {
		case q.kind == wantDurable:
			q.answer(nil)
		case q.kind == wantBase && (p == nil || !p.inFlight.Base):
			s.waiting = append(s.waiting, q) // asked for while a delta was being read
		default:
			s.synced = append(s.synced, q)
		}
	}
	s.covered = nil
}

// send seals changes and hands them to the lane, after noting in the file what may be in flight (P3).
func (s *Session) send(ctx context.Context, changes capture.Changes, p push) error {
	plain, err := changes.Push.Marshal()
	if err != nil {
		return err
	}
	base := changes.Push.Base
	segs, err := sessionlog.Seal(s.r.keys, s.term.SessionID, s.salt, s.cursor, plain, base)
	if err != nil {
		return err
	}
	var creds *cloudstore.Credentials
	if base && !s.basePushed {
		if creds, err = s.sealCredentials(ctx); err != nil {
			return err
		}
	}
	p.inFlight = capture.InFlight{
		Epoch: s.term.Epoch, FirstSeq: segs[0].Seq, Base: base, Mark: changes.Mark,
	}
	p.credentials = changes.CredentialsChanged
	for _, seg := range segs {
		p.inFlight.Tags = append(p.inFlight.Tags, seg.Tag)
		p.inFlight.Bytes += int64(len(seg.Data))
	}
	if err := s.file.SetInFlight(ctx, p.inFlight); err != nil {
		return err
	}
	p.unit = s.newUnit(segs, creds)
	s.push, s.urgent = &p, false
	if creds != nil {
		s.credsDirty = s.creds != nil // older ones are on their way and may arrive last
	}
	s.cover()
	s.lane.submit(p.unit)
	return nil
}

func (s *Session) newUnit(segs []cloudstore.Segment, creds *cloudstore.Credentials) *unit {
	u := &unit{sessionID: s.term.SessionID, epoch: s.term.Epoch, segs: segs, creds: creds, done: make(chan struct{})}
	u.onRetry = func(err error) {
		s.noteError(err)
		if u.refused.Load() {
			s.poke() // for parkSlot
		}
	}
	return u
}

// pushDone takes the outcome of the push under way, and acknowledges it in the file.
func (s *Session) pushDone(ctx context.Context) error {
	if s.push == nil {
		return nil
	}
	if !s.push.durable {
		select {
		case <-s.push.unit.done:
		default:
			return nil
		}
		if s.push.unit.err != nil {
			return s.fenced()
		}
		s.becameDurable(s.push)
	}
	if s.resting() {
		return nil
	}
	if err := s.file.Acknowledge(ctx, s.push.inFlight); err != nil {
		return s.local("acknowledge a push", err)
	}
	s.localOK()
	s.push = nil
	return nil
}

// becameDurable does what follows from p being in the log. The file learns of it afterwards: who waits
// need not wait for that.
func (s *Session) becameDurable(p *push) {
	p.durable = true
	s.cursor, s.size = p.inFlight.Last(), s.size.With(p.inFlight)
	s.releaseSlot()
	if p.inFlight.Base {
		s.needBase = false
		s.r.pruneLater(pruneJob{s.term.SessionID, s.term.Epoch, s.r.opt.KeepBases})
	}
	if p.credentials && p.unit.creds == nil {
		s.credsDirty = true
	}
	s.basePushed = s.basePushed || p.inFlight.Base
	s.notePush(p)
	if s.r.opt.OnDurable != nil {
		s.r.opt.OnDurable(s.term.SessionID, s.cursor)
	}
	s.pushed(p)
}

func (s *Session) notePush(p *push) {
	s.mu.Lock()
	s.status.Pushes++
	s.status.PushedBytes += p.inFlight.Bytes
	s.status.LastDurable = time.Now()
	s.status.LastError = nil
	s.status.Cursor = s.cursor
	s.mu.Unlock()
	s.r.opt.Observer.Pushed(Pushed{
		Base: p.inFlight.Base, Compaction: p.compaction, Bytes: p.inFlight.Bytes, Waited: time.Since(p.since),
	})
	if p.inFlight.Base {
		s.logSaved("base", p.inFlight.Bytes)
	} else {
		s.log.DebugContext(s.behalf(), "✓ Session "+s.term.SessionID+" saved to cloud",
			"session", s.term.SessionID, "epoch", s.term.Epoch, "seq", s.cursor.Seq, "what", "delta", "bytes", p.inFlight.Bytes)
	}
}

// logSaved writes the line that operators look for. A base and the credentials are rare and worth a
// line; a delta is written with every message and has its line at debug level only.
func (s *Session) logSaved(what string, bytes int64) {
	s.log.InfoContext(s.behalf(), "✓ Session "+s.term.SessionID+" saved to cloud",
		"session", s.term.SessionID, "epoch", s.term.Epoch, "seq", s.cursor.Seq, "what", what, "bytes", bytes)
}

// behalf is the context of somebody who waits for this to be saved and whose lines say why; of nobody
// if it is saved anyway.
func (s *Session) behalf() context.Context {
	for _, list := range [][]*request{s.covered, s.synced, s.waiting, s.sealers} {
		for _, q := range list {
			if logctx.Has(q.ctx) {
				return q.ctx
			}
		}
	}
	return context.Background()
}

// notePending shows in Status whether something read from the file is not yet durable.
func (s *Session) notePending() {
	busy := s.push != nil && !s.push.durable || s.creds != nil || s.credsDirty || s.seal != nil
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case busy && s.status.Since.IsZero():
		s.status.Since = time.Now()
	case !busy:
		s.status.Since = time.Time{}
		if s.dirtySince.IsZero() {
			s.status.LastError = nil
		}
	}
}
