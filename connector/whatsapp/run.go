package whatsapp

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

const (
	loginTimeout = 90 * time.Second // whatsmeow's own requests after the login take 75 s at most
	stableAfter  = time.Minute      // a connection that lasted so long starts the backoff anew
	maxBackoff   = time.Minute
)

// backoff is the wait before the next attempt: nearly none for the first, then 1, 2, 4 s up to a minute, with jitter,
// since thousands of sessions lose their connections together.
type backoff struct {
	failures int
	relogin  bool // the service has asked for a new login, and there was no stable connection since
}

func (b *backoff) next() time.Duration {
	n := b.failures
	b.failures++
	if n == 0 {
		return rand.N(200 * time.Millisecond) //nolint:gosec // jitter, not a secret
	}
	d := min(time.Second<<min(n-1, 10), maxBackoff)
	return d/2 + rand.N(d/2) //nolint:gosec // jitter, not a secret
}

// ended notes how a connection ended. A stable one starts anew, and so does a login that the service wants repeated
// (515), which is no failure unless it wants that again and again.
func (b *backoff) ended(kind mailKind, lasted time.Duration) {
	switch {
	case lasted >= stableAfter:
		*b = backoff{}
	case kind == mailRelogin && !b.relogin:
		*b = backoff{relogin: true}
	}
}

// run keeps the session connected until it ends or is stopped.
func (s *Session) run() {
	var wait backoff
	for first := true; ; first = false {
		if !first {
			if !s.sleep(wait.next()) {
				return
			}
			s.cfg.Observer.Reconnecting()
		}
		began := time.Now()
		end := s.attempt()
		s.unready()
		if end.kind == mailFinal {
			s.cli.Disconnect() // after a replacement the client has to hang up
			s.conclude(end.state, end.detail, end.err)
			return
		}
		wait.ended(end.kind, time.Since(began))
		if s.stopping() {
			return
		}
		s.setState(StateDisconnected, end.detail)
	}
}

// attempt makes one connection and returns how it ended.
func (s *Session) attempt() mail {
	if s.cfg.MayConnect != nil {
		if err := s.cfg.MayConnect(s.ctx); err != nil {
			return mail{kind: mailDropped, detail: "not connecting: " + err.Error()}
		}
	}
	s.mail.forget()
	s.setState(StateConnecting, "")
	if err := s.dial(); err != nil {
		s.log.WarnContext(s.onBehalf(), "connecting didn't work", "error", scrub(err.Error()))
		return mail{kind: mailDropped, detail: "connecting didn't work: " + scrub(err.Error())}
	}
	end := s.attend()
	if end.hangUp && end.kind != mailFinal {
		s.hangUp()
	}
	return end
}

// dial connects, unless the session is ending: either dial sees that it is, or Abort sees that dial is under way.
func (s *Session) dial() error {
	s.dialling.Store(true)
	defer s.dialling.Store(false)
	if s.stopping() {
		return ErrStopped
	}
	return s.connect(s.guard.connect(s.ctx))
}

// connect connects. A connection that ends between the last word of whatsmeow's handshake and the moment it listens for
// the end is one of which no event ever tells; it is gone by the time ConnectContext returns, so that is said here.
// Where the event comes all the same, it is the second word about one end, and late. It is no error: what the service
// said before it hung up may be that the session is over.
func (s *Session) connect(ctx context.Context) error {
	if err := s.cli.ConnectContext(ctx); err != nil {
		return err
	}
	if !s.cli.IsConnected() {
		s.mail.put(mail{kind: mailDropped, detail: "the connection was closed"})
	}
	return nil
}

// hangUp closes a socket that may still be open, in a way that whatsmeow's own waiting requests survive.
func (s *Session) hangUp() {
	if s.cli.IsConnected() {
		s.cli.ResetConnection()
	}
}

// attend looks after a connection until it ends.
func (s *Session) attend() mail {
	login := time.NewTimer(loginTimeout)
	defer login.Stop()
	var retry <-chan time.Time // the next try of a safe start's last steps
	var wait backoff
	for {
		select {
		case <-s.ctx.Done():
			return mail{kind: mailDropped, detail: "stopping"}
		case <-login.C:
			return mail{kind: mailDropped, detail: "the service didn't answer the login", hangUp: true}
		case <-retry:
			s.finish()
		case <-s.mail.fresh:
			m, ok := s.mail.take()
			switch {
			case !ok:
			case m.kind == mailConnected && s.cli.IsLoggedIn():
				login.Stop()
				s.finish()
			case m.kind == mailUnread && s.cli.IsLoggedIn():
				s.finish()
			case m.kind == mailFinished:
				retry = s.finished(m.err, &wait)
			case m.kind == mailDropped && !m.hangUp && s.cli.IsConnected():
				// whatsmeow's word about the socket before this one, late
			case m.kind == mailDropped, m.kind == mailRelogin, m.kind == mailFinal:
				return m
			}
		}
	}
}

// finish does what a safe start has left, in the background: when the connection breaks, whatsmeow's requests go on
// with the next one. A mailFinished tells the end.
func (s *Session) finish() {
	s.mu.Lock()
	running, outstanding := s.finishing, s.safe.outstanding
	s.finishing = true
	s.mu.Unlock()
	if !outstanding {
		s.becomeReady() // what is unread can be asked for beside
	}
	if running {
		return
	}
	s.spawn(func() {
		err := s.finishSafe()
		s.mu.Lock()
		s.finishing = false
		s.mu.Unlock()
		s.mail.put(mail{kind: mailFinished, err: err})
	})
}

// finished lets messages flow. While a step doesn't work it returns when to try again.
func (s *Session) finished(err error, wait *backoff) (retry <-chan time.Time) {
	if !s.cli.IsLoggedIn() {
		return nil // the next login begins anew
	}
	var safe *SafeStartError
	if err != nil {
		s.log.WarnContext(s.onBehalf(), "login not finished, trying again", "error", scrub(err.Error()))
		retry = time.After(wait.next() + 100*time.Millisecond)
	} else if s.hasUnread() { // noted meanwhile
		retry = time.After(0)
	}
	// Messages can flow without the app state, and while others are unread; without the other steps they can't.
	if err == nil || errors.Is(err, errUnasked) || errors.As(err, &safe) && safe.Step == stepAppState {
		s.becomeReady()
	} else {
		s.setState(StateConnecting, scrub(err.Error()))
	}
	return retry
}

// reset asks for a new connection, on which the service sends again what wasn't acknowledged. It doesn't block, and
// is safe to call from an event handler.
func (s *Session) reset(reason string) {
	s.mail.put(mail{kind: mailDropped, detail: reason, hangUp: true})
}

// sleep waits; false when the session is stopping.
func (s *Session) sleep(d time.Duration) bool {
	if s.testPause != nil {
		d = s.testPause(d)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}
