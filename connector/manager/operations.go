package manager

import (
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
	o, err := m.whenOpen(ctx, s)
	if err != nil {
		return err
	}
	if o.fresh.Load() {
		return ErrNotOpen
	}
	err = o.rep.Flush(ctx)
	if !errors.Is(err, replicate.ErrFenced) && !errors.Is(err, replicate.ErrBackupOff) && !errors.Is(err, replicate.ErrClosed) {
		return err
	}
	// Fenced by another connector, or by a DELETE: then a new copy is what was asked for.
	if o, err = m.backUpAgain(ctx, s, o); err != nil {
		return err
	}
	return o.rep.Flush(ctx)
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
		if !m.opensItself(owner) {
			return nil, ErrNotOpen
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ErrNotOpen, ctx.Err())
		case <-tick.C:
		}
	}
}

// opensItself reports whether a heartbeat of this connector is to open the session.
func (m *Manager) opensItself(o cloudstore.Owner) bool {
	self := m.opt.Lease.ConnectorID()
	return o.Wanted == cloudstore.WantedOpen && (o.ConnectorID == self || o.ConnectorID == "" && o.ReservedFor == self)
}

// reasonAgain marks the first term of a session whose copy was deleted.
const reasonAgain = "sync after delete"

// backUpAgain takes a new epoch without a parent for a session whose cloud copy
// was deleted (O10); its log begins with a base.
func (m *Manager) backUpAgain(ctx context.Context, s *session, o *opened) (*opened, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cur := s.current(); cur != o || cur == nil {
		if cur == nil {
			return nil, ErrNotOpen
		}
		return cur, nil // somebody else did it meanwhile
	}
	owner, err := m.opt.Store.Owner(ctx, s.id)
	if err != nil {
		return nil, fmt.Errorf("read owner of session: %w", err)
	}
	// A later epoch of ours is an attempt of this very function that was cut short.
	if what, _ := m.standing(owner, o); what != standDeleted && what != standRetaken {
		return nil, fmt.Errorf("sync: %w", ErrElsewhere)
	}
	state, err := o.file.State(ctx)
	if err != nil {
		return nil, fmt.Errorf("read session file: %w", err)
	}
	taken, err := m.take(ctx, s, &prior{}, openRequest{reason: reasonAgain, again: true})
	if err != nil {
		return nil, err
	}
	o.rep.Close()
	rep, err := m.opt.Replicator.Attach(ctx, o.file, replicate.Term{
		SessionID: s.id, Epoch: taken.Epoch, Start: replicate.StartNew, Salt: state.Salt,
		Backup: cloudstore.BackupFull, BootID: state.BootID,
	})
	if err != nil {
		return nil, fmt.Errorf("attach replication: %w", err)
	}
	next := &opened{taken: taken, file: o.file, wa: o.wa, rep: rep, delivery: o.delivery, gone: make(chan struct{})}
	s.setCurrent(next)
	rep.Changed()
	m.watch(s, next)
	s.log.InfoContext(ctx, "session is backed up again", "epoch", taken.Epoch)
	return next, nil
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
