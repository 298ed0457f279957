package whatsapp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
)

// Grace is how long the end of a session, or of a call, waits for what is under way (O6). A zero field stands for what it
// names.
type Grace struct {
	Sends    time.Duration // running sends: 5 s
	HangUp   time.Duration // the closing of the socket: 1 s
	Handlers time.Duration // event handlers, and then background work: 2 s each
	Record   time.Duration // the outcome of a send, to be recorded: 5 s
	Promise  time.Duration // a send without an outcome, to be in TiDB: 2 s. Only its caller waits for that
}

func (g Grace) complete() Grace {
	return Grace{
		Sends:    cmp.Or(g.Sends, 5*time.Second),
		HangUp:   cmp.Or(g.HangUp, time.Second),
		Handlers: cmp.Or(g.Handlers, 2*time.Second),
		Record:   cmp.Or(g.Record, 5*time.Second),
		Promise:  cmp.Or(g.Promise, 2*time.Second),
	}
}

// Stop ends the session: it refuses new sends and waits for running ones, refuses events, closes the socket, and waits
// for the handlers (O6, first half). Closing the file afterwards is the barrier behind which nothing is written any
// more (W5): whatsmeow may still be at work in the background.
//
// An error says what didn't end in time. The log of the term must not be sealed then. A second call waits for nothing
// and returns nil.
func (s *Session) Stop(ctx context.Context) error {
	s.mu.Lock()
	again := s.ending
	s.ending = true
	s.mu.Unlock()
	if again {
		return nil
	}
	close(s.stopped)
	s.sends.close()
	errSends := waitFor(ctx, s.cfg.Grace.Sends, "running sends", s.sends.wait)
	s.handlers.close()
	s.disconnect()
	s.mu.Lock() // spawn looks at the context under the lock: after this nothing is started
	s.cancel()
	s.mu.Unlock()
	close(s.hungUp)
	errHandlers := waitFor(ctx, s.cfg.Grace.Handlers, "handlers", s.handlers.wait)
	errTasks := waitFor(ctx, s.cfg.Grace.Handlers, "background work", s.waitTasks)
	s.announceStop()
	return errors.Join(errSends, errHandlers, errTasks)
}

// disconnect closes the socket. A dead peer makes whatsmeow wait for its goodbye; the end of the context cuts that
// short. Only a handshake that the service doesn't answer goes on, for 20 s at most, and ends in nothing.
func (s *Session) disconnect() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.cli.Disconnect()
	}()
	for range 2 {
		select {
		case <-done:
			return
		case <-time.After(s.cfg.Grace.HangUp):
			s.cancel()
		}
	}
}

func (s *Session) waitTasks(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.tasks.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// announceStop sets the state, unless the session was over already for a reason worth keeping.
func (s *Session) announceStop() {
	s.announce.Lock()
	defer s.announce.Unlock()
	s.mu.Lock()
	keep := s.state.Final() || s.state == StateUnpaired
	if !keep {
		s.state, s.detail = StateStopped, ""
	}
	s.mu.Unlock()
	if !keep && s.cfg.OnState != nil {
		s.cfg.OnState(StateStopped, "")
	}
}

func waitFor(ctx context.Context, grace time.Duration, what string, wait func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	if err := wait(ctx); err != nil {
		return fmt.Errorf("stop session: %s didn't end in time: %w", what, err)
	}
	return nil
}
