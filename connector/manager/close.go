package manager

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"cloudsession/connector/capture"
	"cloudsession/connector/logctx"
	"cloudsession/connector/ownership"
	"cloudsession/connector/replicate"
	"cloudsession/connector/whatsapp"
	"cloudsession/shared/cloudstore"
)

const (
	// stopTime bounds work that must not hang on a dead database.
	stopTime = 8 * time.Second
	// reserveTime is how long a stopped connector's sessions wait for its return.
	reserveTime = time.Minute
)

// release says what the owner row shall say after a session was closed.
type release struct {
	reserveFor string // connector that may take it first
	wanted     string // cloudstore.WantedOpen, WantedRest or WantedClosed
	forGood    bool   // nobody opens it again by himself

	command *cloudstore.Command // asks for the session to be handed over to reserveFor, or nil
	handed  *bool               // set once it and the command are
}

// closeLocked ends a term so that the next start is exact (O6): socket closed,
// handlers done, everything pushed, the log sealed, the owner row free. On a
// failure there is no seal and the row stays ours: the next start is from this
// machine's own file, or safe.
func (m *Manager) closeLocked(ctx context.Context, s *session, r release) error {
	o := s.current()
	if o == nil {
		return nil
	}
	defer s.setCurrent(nil)
	if o.fresh.Load() {
		return m.dropPairing(ctx, s, o)
	}
	stopErr := o.wa.Stop(ctx)
	o.stopDelivery()
	if errors.Is(o.wa.Err(), whatsapp.ErrReplaced) {
		m.replaced(ctx, s, o) // a clone has moved the ratchets: this state must not be sealed as the newest
		return nil
	}
	if o.rest && r.wanted == cloudstore.WantedOpen {
		r.wanted = cloudstore.WantedRest
	}
	r, over := m.settleEnding(ctx, s, o, r)
	if stopErr != nil {
		return errors.Join(fmt.Errorf("stop session: %w", stopErr), o.shut())
	}
	if o.local.Load() {
		return m.closeUncopied(ctx, s, o, r)
	}
	how, err := m.endLog(ctx, s, o)
	if errors.Is(err, replicate.ErrFenced) || errors.Is(err, replicate.ErrBackupOff) {
		return errors.Join(m.settleFenced(ctx, s, o, r), o.shutReplication())
	}
	if err != nil {
		return errors.Join(err, o.shutReplication())
	}
	if r.forGood { // before letting go: once the row is free nobody looks at the file any more
		if err := m.leaveMessages(ctx, s, o); err != nil {
			return errors.Join(err, o.shutReplication())
		}
	}
	// Of one that has ended with something left to deliver the row stays ours, and the next heartbeat goes on with it.
	if !over || r.wanted != cloudstore.WantedRest {
		if err := m.letGo(ctx, s, o, r); err != nil {
			return errors.Join(err, o.shutReplication())
		}
	}
	s.log.InfoContext(ctx, "session closed, "+how, "epoch", o.taken.Epoch)
	// The session is whole in the cloud, and somebody may be waiting for it: what
	// becomes of this copy of it matters no more.
	if err := o.shutReplication(); err != nil {
		s.log.WarnContext(ctx, "session file not closed cleanly", "error", err)
	}
	return nil
}

// settleEnding notes how a session has ended, if it has, and what its owner row shall
// say for that.
func (m *Manager) settleEnding(ctx context.Context, s *session, o *opened, r release) (_ release, over bool) {
	e, over := endingOf(o)
	if !over {
		return r, false
	}
	if e.wanted == cloudstore.WantedClosed {
		e.wanted = m.wantedAfter(ctx, s, o)
	}
	r.wanted, r.reserveFor = e.wanted, ""
	r.forGood = e.wanted == cloudstore.WantedClosed
	m.noteEnding(ctx, s, e)
	return r, true
}

// closeInTime is closeLocked for whoever may go away or has no time of his own:
// once begun it is bounded by stopTime and cut short only by the end of Close.
func (m *Manager) closeInTime(ctx context.Context, s *session, r release) error {
	ctx, cancel := context.WithTimeout(logctx.Onto(m.hard, ctx), m.stopTime)
	defer cancel()
	return m.closeLocked(ctx, s, r)
}

// pushFirst makes durable what is noted while the session is still open, so that
// little is left for the time that closing it may take. An error leaves it open.
// Where nothing more may be pushed closing it decides.
func (m *Manager) pushFirst(ctx context.Context, s *session) error {
	o := s.current()
	if o == nil || o.fresh.Load() || o.local.Load() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, m.stopTime)
	defer cancel()
	stop := context.AfterFunc(m.life, cancel)
	defer stop()
	err := o.rep.Flush(ctx)
	over := []error{replicate.ErrFenced, replicate.ErrSealed, replicate.ErrClosed, replicate.ErrBackupOff, replicate.ErrNoDevice}
	if err == nil || slices.ContainsFunc(over, func(end error) bool { return errors.Is(err, end) }) {
		return nil
	}
	return fmt.Errorf("push what is new before the session is closed: %w", err)
}

// letGo frees the owner row of a term whose log is sealed.
func (m *Manager) letGo(ctx context.Context, s *session, o *opened, r release) error {
	if r.command != nil && r.reserveFor != "" {
		err := m.opt.Store.HandOver(ctx, cloudstore.Handover{
			SessionID: s.id, Epoch: o.taken.Epoch, Target: r.reserveFor, Reserve: handoverReserve,
			CommandID: r.command.ID, Incarnation: m.opt.Lease.Incarnation(),
		})
		*r.handed = err == nil
		return err
	}
	state, detail := s.stateNow()
	if err := m.opt.Store.SetState(ctx, s.id, o.taken.Epoch, string(state), detail); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	reserve := reserveTime
	if r.reserveFor == "" {
		reserve = 0
	}
	if err := m.opt.Store.Release(ctx, s.id, o.taken.Epoch, r.reserveFor, reserve, r.wanted); err != nil {
		return fmt.Errorf("release session: %w", err)
	}
	return nil
}

// settleFenced ends a term whose log refused the seal. If only the cloud copy was
// deleted the file stays: it is the only one there is (O10). Else the session is
// somebody else's.
func (m *Manager) settleFenced(ctx context.Context, s *session, o *opened, r release) error {
	owner, err := m.opt.Store.Owner(ctx, s.id)
	if err != nil {
		return fmt.Errorf("read owner of session: %w", err)
	}
	what, why := m.standing(owner, o)
	if what == standDeleted || what == standRetaken {
		s.log.InfoContext(ctx, "session closed; it is not in the cloud")
		if err := m.finishDelete(ctx, owner); err != nil {
			s.log.WarnContext(ctx, "parts of a late push may be left in the cloud", "error", err)
		}
		return m.closeUncopied(ctx, s, o, r)
	}
	if what == standOurs {
		why = foreignRows
	}
	s.log.WarnContext(ctx, "session lost: its file is set aside", "reason", why.text, "epoch", o.taken.Epoch)
	m.noteLoss(s, why)
	if err := errors.Join(o.shutReplication(), s.files.setAside()); err != nil {
		return err
	}
	m.sayOnlyHere(ctx, s, o.file.Path())
	return nil
}

// closeUncopied ends a term of a session that is not in the cloud. Nothing is pushed
// and so nothing can be sealed: the file is the only copy, and the row stays this
// connector's. Only of one that was unlinked the file is of no use any more, but for
// its messages.
func (m *Manager) closeUncopied(ctx context.Context, s *session, o *opened, r release) error {
	if state, _ := s.stateNow(); r.forGood && state == whatsapp.StateLoggedOut {
		if err := m.leaveMessages(ctx, s, o); err != nil {
			return errors.Join(err, o.shutReplication())
		}
	}
	return errors.Join(o.shutReplication(), m.opt.Store.SetWanted(ctx, s.id, r.wanted))
}

// endLog pushes what is left and seals the log. That of a session whose clone goes on
// with the keys gets no seal: should it be opened again, the start must be safe.
func (m *Manager) endLog(ctx context.Context, s *session, o *opened) (how string, err error) {
	if state, _ := s.stateNow(); state == StateContested {
		return "log left without a seal", errors.Join(o.rep.Flush(ctx), s.files.taint())
	}
	if err := m.seal(ctx, s, o); err != nil {
		return "", err
	}
	if o.rep.Backup() == cloudstore.BackupCredentials {
		return "its credentials alone are in the cloud", nil
	}
	return "log sealed", nil
}

// seal pushes what is left and seals the log. Closing the file first is the
// barrier that no late handler gets past (W5).
func (m *Manager) seal(ctx context.Context, s *session, o *opened) error {
	err := o.rep.Reopen(ctx, func(ctx context.Context) (*capture.File, error) {
		if err := o.file.Close(); err != nil {
			return nil, err
		}
		f, err := capture.Open(ctx, o.file.Path(), capture.Options{})
		if err == nil {
			o.file = f
		}
		return f, err
	})
	if err != nil {
		return fmt.Errorf("reopen session file: %w", err)
	}
	if err := o.rep.Seal(ctx); err != nil {
		return fmt.Errorf("seal the log: %w", err)
	}
	end := o.rep.Status().Cursor
	mark := ownership.HighWater{Epoch: end.Epoch, Seq: end.Seq, Tag: end.Tag}
	return mark.Raise(s.files.highWaterPath())
}

func (o *opened) shutReplication() error {
	o.rep.Close()
	return o.file.Close()
}

// dropPairing forgets a session file that never got a device.
func (m *Manager) dropPairing(ctx context.Context, s *session, o *opened) error {
	err := errors.Join(o.shut(), s.files.setAside())
	return errors.Join(err, m.opt.Store.Release(ctx, s.id, o.taken.Epoch, "", 0, "closed"))
}

// closeTainted closes a session, marks its file and leaves it where it is: the
// next start must drop its Signal state, and may keep the rest.
func (m *Manager) closeTainted(ctx context.Context, s *session, o *opened, why string) {
	s.setCurrent(nil)
	s.log.WarnContext(ctx, "session closed; its file is marked", "reason", why, "epoch", o.taken.Epoch)
	if err := errors.Join(o.abort(), s.files.taint(), o.shut()); err != nil {
		s.log.ErrorContext(ctx, "close session", "error", err)
	}
}

// loseLocked closes a session whose Signal state must not be used again, the
// socket first, and says why.
func (m *Manager) loseLocked(ctx context.Context, s *session, why loss) {
	o := s.current()
	if o == nil {
		return
	}
	s.setCurrent(nil)
	err := o.abort()
	s.log.WarnContext(ctx, "session lost: closed here and its file set aside", "reason", why.text, "epoch", o.taken.Epoch)
	if err := errors.Join(err, o.shut(), s.files.setAside()); err != nil {
		s.log.ErrorContext(ctx, "close lost session", "error", err)
	}
	m.sayOnlyHere(ctx, s, o.file.Path())
	m.noteLoss(s, why)
}

func (m *Manager) noteLoss(s *session, why loss) {
	s.setState(StateLost, why.text)
	m.opt.Observer.Lost(why.kind)
}
