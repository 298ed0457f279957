package manager

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"cloudsession/connector/replicate"
	"cloudsession/shared/cloudstore"
)

// protectTime is the default of Options.ProtectTime.
const protectTime = 2 * time.Second

// durability is what protection needs of a *replicate.Session.
type durability interface {
	WaitDurable(ctx context.Context) error
	Err() error
}

// protection decides when an incoming message may be acknowledged to WhatsApp (A1).
//
// A session is protected while each message waits until TiDB has it. The first one that TiDB keeps waiting for longer
// than limit makes it unprotected: messages are then acknowledged once they are on this disk, until TiDB has
// taken the whole backlog and answers in time again.
type protection struct {
	limit time.Duration // Options.ProtectTime
	state atomic.Int32  // a protectionState
}

type protectionState = int32

const (
	protected   protectionState = iota
	unprotected                 // nothing waits
	regaining                   // messages wait again; what was acknowledged before them is still to be seen in TiDB
)

// shown tells whether the session is to be called unprotected.
func (p *protection) shown() bool { return p.state.Load() != protected }

// wait returns nil once a message that was stored before the call may be acknowledged; onDisk says that this disk alone
// is known to have it. lost is called, once, when the session becomes unprotected. An error means that it must not be
// acknowledged here: the log of the term has ended, since somebody else has the session or it is being closed, or ctx
// has.
func (p *protection) wait(ctx context.Context, rep durability, lost func(cause error)) (onDisk bool, err error) {
	if err := rep.Err(); err != nil {
		return false, err
	}
	if p.state.Load() == unprotected {
		return true, nil
	}
	limited, cancel := context.WithTimeout(ctx, p.limit)
	defer cancel()
	err = rep.WaitDurable(limited)
	switch {
	case err == nil:
		return false, nil
	case rep.Err() != nil, ended(err):
		return false, err
	case ctx.Err() != nil:
		return false, ctx.Err()
	}
	if p.state.Swap(unprotected) == protected {
		lost(err)
	}
	return true, nil
}

// regain returns nil once the session is protected again, or why it never will be. Messages wait again before that is so:
// a message that didn't was stored before they do, and a look at TiDB that begins after that covers it.
func (p *protection) regain(ctx context.Context, rep durability) error {
	for {
		err := p.look(ctx, rep)
		if err == nil {
			p.state.Store(regaining)
			if err = p.look(ctx, rep); err == nil && p.state.CompareAndSwap(regaining, protected) {
				return nil
			}
			p.state.Store(unprotected)
		}
		switch {
		case err == nil, errors.Is(err, errSlow):
			continue
		case ctx.Err() != nil, ended(err):
			return err
		}
		if rep.Err() != nil {
			return rep.Err()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(p.limit):
		}
	}
}

// errSlow: TiDB has everything, and took longer than messages are to wait.
var errSlow = errors.New("TiDB is too slow to wait for")

// look returns nil if everything that was stored before the call is in TiDB, and it said so in time.
func (p *protection) look(ctx context.Context, rep durability) error {
	began := time.Now()
	if err := rep.WaitDurable(ctx); err != nil {
		return err
	}
	if time.Since(began) > p.limit {
		return errSlow
	}
	return nil
}

// ended tells whether nothing more of a term can become durable.
func ended(err error) bool {
	return errors.Is(err, replicate.ErrFenced) || errors.Is(err, replicate.ErrSealed) || errors.Is(err, replicate.ErrClosed)
}

// durable is asked by whatsapp before it acknowledges a message (whatsapp.Config.Durable).
func (m *Manager) durable(ctx context.Context, s *session, o *opened) error {
	if cur := s.current(); cur != nil && cur.wa == o.wa {
		o = cur // a new backup after a DELETE keeps the socket but not the epoch
	}
	if o.withoutCopy() != "" {
		m.opt.Observer.Acknowledged(ByChoice, 0)
		return nil
	}
	began := time.Now()
	onDisk, err := o.protection.wait(ctx, o.rep, func(cause error) {
		s.log.Warn("session is unprotected: TiDB does not answer in time, messages are acknowledged once they are on this disk", "error", cause)
		m.later(func() {
			if o.protection.regain(m.life, o.rep) == nil {
				s.log.Info("session is protected again: TiDB has everything")
			}
		})
	})
	if err == nil {
		by := ByCloud
		if onDisk {
			by = ByDisk
		}
		m.opt.Observer.Acknowledged(by, time.Since(began))
	}
	return err
}

// kept is asked by whatsapp before it promises to repeat a message (whatsapp.Config.Kept).
func (m *Manager) kept(ctx context.Context, s *session, o *opened) error {
	if cur := s.current(); cur != nil && cur.wa == o.wa {
		o = cur // a new backup after a DELETE keeps the socket but not the epoch
	}
	if why := o.withoutCopy(); why != "" {
		return errors.New(why)
	}
	return inCloud(ctx, o.rep)
}

// inCloud waits until what was committed before the call is durable.
func inCloud(ctx context.Context, rep durability) error {
	err := rep.WaitDurable(ctx)
	if errors.Is(err, replicate.ErrSealed) {
		return nil // everything was, before the seal
	}
	return err
}

// fenced tells whether the log refuses this term and nobody has found yet that only the copy was deleted: no socket is
// opened then, which might take the place of a new owner's.
func (o *opened) fenced() bool {
	return errors.Is(o.rep.Err(), replicate.ErrFenced) && !o.local.Load()
}

// withoutCopy says why no copy of incoming messages is to be waited for, "" when there is one. It isn't a fault:
// somebody has chosen it.
func (o *opened) withoutCopy() string {
	switch backup := o.rep.Backup(); {
	case o.local.Load():
		return "its copy was deleted"
	case backup == cloudstore.BackupOff:
		return "backup is off"
	case backup == cloudstore.BackupCredentials:
		return "only credentials are backed up"
	default:
		return ""
	}
}

// unprotectedBy says why incoming messages are acknowledged before TiDB has them, "" when they are not.
func (o *opened) unprotectedBy() string {
	if o.protection.shown() {
		return "TiDB does not answer in time"
	}
	return o.withoutCopy()
}

// Unprotected counts the sessions whose messages are acknowledged before TiDB has them because TiDB doesn't answer in
// time. Those without a full copy by choice are not among them.
func (m *Manager) Unprotected() int {
	n := 0
	for _, s := range m.held() {
		if o := s.current(); o != nil && o.protection.shown() {
			n++
		}
	}
	return n
}
