package whatsapp

import (
	"context"
	"errors"
)

// Abort ends a session that is somebody else's by now (O7): the socket goes first, and nothing is sent or acknowledged
// from then on, whatever is still running. The state of a session aborted so is of no use to anybody. The caller
// closes the file afterwards, as after Stop.
//
// An error says what didn't end in time. A Stop that is under way is cut short; after either, Abort does nothing.
func (s *Session) Abort(ctx context.Context) error {
	s.mu.Lock()
	again := s.ending
	s.ending = true
	s.mu.Unlock()
	s.sends.close()
	s.handlers.close() // who is inside finds the socket closed
	if !again {
		close(s.stopped)
	}
	// Before the end of the context, which closes the socket as well: whatsmeow's
	// reader, when it fails, looks without a lock at what Disconnect takes away.
	// But a login that is under way must not come about: Disconnect waits for it.
	if !s.dialling.Load() {
		s.disconnect()
	}
	s.mu.Lock() // spawn looks at the context under the lock: after this nothing is started
	s.cancel()
	s.mu.Unlock()
	s.disconnect() // again: nothing, or what the dialling left
	if again {
		return nil
	}
	close(s.hungUp)
	errSends := waitFor(ctx, s.cfg.Grace.Handlers, "running sends", s.sends.wait)
	errHandlers := waitFor(ctx, s.cfg.Grace.Handlers, "handlers", s.handlers.wait)
	errTasks := waitFor(ctx, s.cfg.Grace.Handlers, "background work", s.waitTasks)
	s.announceStop()
	return errors.Join(errSends, errHandlers, errTasks)
}

// Err returns why the session is over: one of the errors that Connect names; nil while it isn't.
func (s *Session) Err() error { return s.end() }
