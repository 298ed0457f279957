package manager

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"cloudsession/connector/ownership"
	"cloudsession/connector/replicate"
	"cloudsession/shared/cloudstore"
)

// Sync makes everything that is dirty now durable in TiDB (P8). A session whose
// cloud copy was deleted gets a new one.
func (m *Manager) Sync(ctx context.Context, id string) error {
	s, err := m.entry(id)
	if err != nil {
		return err
	}
	for {
		o, err := m.whenOpen(ctx, s)
		if err != nil {
			return err
		}
		if o.fresh.Load() || o.rest {
			return ErrNotOpen
		}
		if err = o.rep.Flush(ctx); !termOver(err) {
			return err
		}
		if err := m.backUpAgain(ctx, s, o); err != nil {
			return err
		}
	}
}

// termOver tells whether a session's replication has ended with its term: fenced by
// another connector, or by a DELETE, or closed here, perhaps to be opened again.
func termOver(err error) bool {
	return errors.Is(err, replicate.ErrFenced) || errors.Is(err, replicate.ErrBackupOff) ||
		errors.Is(err, replicate.ErrSealed) || errors.Is(err, replicate.ErrClosed)
}

// syncCommand carries out a sync here, or leaves it to whoever has the session by
// now: it may have been handed over before the command was claimed.
func (m *Manager) syncCommand(ctx context.Context, c cloudstore.Command) error {
	err := m.Sync(ctx, c.SessionID)
	if !errors.Is(err, ErrNotOpen) && !errors.Is(err, ErrElsewhere) {
		return err
	}
	owner, lookErr := m.opt.Store.Owner(ctx, c.SessionID)
	if errors.Is(lookErr, cloudstore.ErrNotFound) {
		return err
	}
	if lookErr != nil {
		return fmt.Errorf("read owner of session: %w", lookErr)
	}
	name := cmp.Or(owner.ConnectorID, owner.ReservedFor)
	if name == "" || name == m.opt.Lease.ConnectorID() || owner.Wanted != cloudstore.WantedOpen {
		return err
	}
	holder, lookErr := m.opt.Store.Connector(ctx, name)
	if errors.Is(lookErr, cloudstore.ErrNotFound) || lookErr == nil && !holder.Live {
		return err
	}
	if lookErr != nil {
		return fmt.Errorf("read connector of session: %w", lookErr)
	}
	return m.retarget(ctx, c, holder)
}

// openingPatience is how long a sync waits for a session that is about to be opened:
// some heartbeats.
const openingPatience = 4 * ownership.RenewEvery

// whenOpen returns the session's present term. A session that this connector is
// about to open by itself is waited for: what an earlier process of it left undone
// is found before that is.
func (m *Manager) whenOpen(ctx context.Context, s *session) (*opened, error) {
	ctx, cancel := context.WithTimeout(ctx, openingPatience)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if o := s.current(); o != nil {
			return o, nil
		}
		owner, err := m.opt.Store.Owner(ctx, s.id)
		if err != nil && !errors.Is(err, cloudstore.ErrNotFound) {
			return nil, fmt.Errorf("read owner of session: %w", err)
		}
		if !m.aboutToConnect(owner) {
			return nil, ErrNotOpen
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ErrNotOpen, ctx.Err())
		case <-tick.C:
		}
	}
}

// aboutToConnect reports whether a heartbeat of this connector is to open the session.
func (m *Manager) aboutToConnect(o cloudstore.Owner) bool {
	self := m.opt.Lease.ConnectorID()
	return o.Wanted == cloudstore.WantedOpen && (o.ConnectorID == self || o.ConnectorID == "" && o.ReservedFor == self)
}

// reasonAgain marks the first term of a session whose copy was deleted.
const reasonAgain = "sync after delete"

// backUpAgain takes a new epoch without a parent for a session whose cloud copy
// was deleted (O10); its log begins with a base. It does nothing when o isn't the
// session's present term any more.
func (m *Manager) backUpAgain(ctx context.Context, s *session, o *opened) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current() != o {
		return nil
	}
	owner, err := m.opt.Store.Owner(ctx, s.id)
	if err != nil {
		return fmt.Errorf("read owner of session: %w", err)
	}
	// A later epoch of ours is an attempt of this very function that was cut short.
	if what, _ := m.standing(owner, o); what != standDeleted && what != standRetaken {
		return fmt.Errorf("sync: %w", ErrElsewhere)
	}
	state, err := o.file.State(ctx)
	if err != nil {
		return fmt.Errorf("read session file: %w", err)
	}
	taken, err := m.take(ctx, s, &prior{}, openRequest{reason: reasonAgain, again: true})
	if err != nil {
		return err
	}
	o.rep.Close()
	rep, err := m.opt.Replicator.Attach(ctx, o.file, replicate.Term{
		SessionID: s.id, Epoch: taken.Epoch, Start: replicate.StartNew, Salt: state.Salt,
		Backup: cloudstore.BackupFull, BootID: state.BootID,
	})
	if err != nil {
		return fmt.Errorf("attach replication: %w", err)
	}
	next := m.newOpened(taken)
	next.file, next.wa, next.rep, next.delivery = o.file, o.wa, rep, o.delivery
	s.setCurrent(next)
	rep.Changed()
	m.watch(s, next)
	s.log.InfoContext(ctx, "session is backed up again", "epoch", taken.Epoch)
	return nil
}

// connectPatience is how long a restore waits to see the session connect. When
// the service is slow the session is restored all the same; its status says so.
const connectPatience = 10 * time.Second

// waitConnected returns nil once the session is live or its patience is over,
// and whatsapp.ErrLoggedOut if the phone has unlinked the device meanwhile.
func (m *Manager) waitConnected(ctx context.Context, s *session) error {
	ctx, cancel := context.WithTimeout(ctx, connectPatience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		state, detail := s.stateNow()
		if err := finalError(state, detail); err != nil || state.Live() {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
