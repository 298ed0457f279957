package manager

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"cloudsession/connector/ownership"
	"cloudsession/shared/cloudstore"
)

// closesAtOnce bounds how many sessions are closed side by side. All at once, a
// thousand would be half closed when the time is over, and none of them sealed;
// the others stay connected until it is their turn.
const closesAtOnce = 32

// Close closes every session, exactly where possible: sockets closed, all
// pushed, log sealed, owner row reserved for this connector's next start. It
// returns when ctx ends at the latest; what is not closed by then ends with the
// process, unsealed, and starts again from this machine's files.
func (m *Manager) Close(ctx context.Context) error {
	m.stopNew()
	defer context.AfterFunc(ctx, m.endHard)()
	closed := make(chan error, 1)
	go func() { closed <- m.closeAll(ctx) }()
	select {
	case err := <-closed:
		return err
	case <-ctx.Done():
		return fmt.Errorf("close sessions: %w", ctx.Err())
	}
}

func (m *Manager) stopNew() {
	m.mu.Lock()
	m.closing = true
	m.mu.Unlock()
	m.end()
}

func (m *Manager) closeAll(ctx context.Context) error {
	renewing, stop := context.WithCancel(ctx)
	var renewal sync.WaitGroup
	// Sockets are open until the end: nobody may bury this connector meanwhile.
	renewal.Go(func() { m.keepLease(renewing) })
	defer renewal.Wait()
	defer stop()
	m.tasks.Wait()
	var g errgroup.Group
	g.SetLimit(closesAtOnce)
	for _, s := range m.heldAtEnd() {
		g.Go(func() error {
			s.mu.Lock()
			defer s.mu.Unlock()
			err := m.closeLocked(ctx, s, release{reserveFor: m.opt.Lease.ConnectorID(), wanted: cloudstore.WantedOpen})
			if err != nil {
				return fmt.Errorf("close session %s: %w", s.id, err)
			}
			return nil
		})
	}
	return errors.Join(g.Wait(), m.reportEndings(ctx))
}

func (m *Manager) keepLease(ctx context.Context) {
	tick := time.NewTicker(ownership.RenewEvery)
	defer tick.Stop()
	for {
		if err := m.opt.Lease.Renew(ctx); errors.Is(err, ownership.ErrLost) {
			m.abortAll() // they may be somebody else's by now
		} else if err != nil {
			m.logUnlessEnding(ctx, "lease not renewed", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// abortAll cuts short what the closing of sessions waits for.
func (m *Manager) abortAll() {
	var all sync.WaitGroup
	for _, s := range m.held() {
		o := s.current()
		if o == nil {
			continue
		}
		all.Go(func() {
			if err := o.abort(); err != nil {
				s.log.Warn("session did not end in time", "error", err)
			}
		})
	}
	all.Wait()
}

// abandonTime bounds the closing of sockets that may be somebody else's already.
const abandonTime = 2 * time.Second

// Abandon closes every socket at once and pushes nothing: the lease is lost, so
// others may hold the sessions already. The files stay where they are: the next
// start's take tells which of them are still the newest state.
func (m *Manager) Abandon() error {
	ctx, cancel := context.WithTimeout(context.Background(), abandonTime)
	defer cancel()
	m.stopNew()
	m.endHard()
	var g errgroup.Group
	for _, s := range m.heldAtEnd() {
		o := s.current()
		if o == nil {
			continue
		}
		g.Go(func() error {
			err := o.wa.Abort(ctx)
			o.stopDelivery()
			o.rep.Close()
			return errors.Join(err, o.file.Close())
		})
	}
	return g.Wait()
}
