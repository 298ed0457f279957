package manager

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cloudsession/connector/replicate"
	"cloudsession/connector/whatsapp"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/command"
)

// Codes of a failed command, as the API reads them.
const (
	codeNoSession = "session_not_found"
	codeNotOpen   = "session_not_open"
	codeElsewhere = "session_elsewhere"
	codeLoggedOut = "logged_out"
	codeFailed    = "failed"
)

const receiveWait = 20 * time.Second

// receiveCommands takes the knocks on the door (section 11). What a message
// says is never believed: the command's row is.
func (m *Manager) receiveCommands(ctx context.Context) error {
	pause, url := time.Second, ""
	for ctx.Err() == nil {
		var deliveries []command.Delivery
		var err error
		if url == "" {
			url, err = m.openQueue(ctx)
		} else {
			deliveries, err = m.opt.Queue.Receive(ctx, url, receiveWait)
		}
		if err != nil {
			m.logUnlessEnding(ctx, "commands come by the heartbeat only: the queue can't be used", err)
			if errors.Is(err, command.ErrNoQueue) {
				url = ""
			}
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
			pause = min(2*pause, 30*time.Second)
			continue
		}
		pause = time.Second
		for _, d := range deliveries {
			m.knock(ctx, url, d)
		}
	}
	return ctx.Err()
}

// openQueue makes this connector's queue and announces it to the functions.
func (m *Manager) openQueue(ctx context.Context) (string, error) {
	url, err := m.opt.Queue.Create(ctx, m.opt.QueueName)
	if err != nil {
		return "", err
	}
	return url, m.opt.Lease.Announce(ctx, url)
}

// knock starts the command a message names and deletes the message: should this
// process die now, the heartbeat of whoever is then in charge finds the row.
func (m *Manager) knock(ctx context.Context, url string, d command.Delivery) {
	if d.Bad != nil {
		m.log.Warn("malformed command message dropped", "error", d.Bad)
	} else {
		m.runCommand(d.Message.CommandID)
	}
	if err := m.opt.Queue.Delete(ctx, url, d.Receipt); err != nil && !errors.Is(err, command.ErrReceiptExpired) {
		m.logUnlessEnding(ctx, "delete command message", err)
	}
}

// pollCommands finds commands whose message was lost, late or refused.
func (m *Manager) pollCommands(ctx context.Context) error {
	if _, err := m.opt.Store.ExpireCommands(ctx); err != nil {
		return err
	}
	pending, err := m.opt.Store.PendingCommands(ctx, m.opt.Lease.ConnectorID())
	if err != nil {
		return err
	}
	for _, c := range pending {
		m.runCommand(c.ID)
	}
	return nil
}

// runCommand claims and carries out a command on the manager's own time. A
// command that is done, claimed or unknown is left alone.
func (m *Manager) runCommand(id string) {
	m.later(func() {
		c, claimed, err := m.opt.Store.ClaimCommand(m.life, id, m.opt.Lease.ConnectorID(), m.opt.Lease.Incarnation())
		if err != nil {
			if !errors.Is(err, cloudstore.ErrNotFound) {
				m.logUnlessEnding(m.life, "claim command", err)
			}
			return
		}
		if !claimed {
			return
		}
		log := m.log.With("session", c.SessionID, "command", c.ID, "kind", c.Kind, "request", c.RequestID)
		ctx, cancel := context.WithDeadline(m.life, c.Deadline)
		defer cancel()
		started := time.Now()
		err = m.execute(ctx, c)
		code, text := codeOf(err)
		if err != nil {
			log.Warn("command failed", "code", code, "error", err)
		} else {
			log.Info("command done", "took", time.Since(started).Round(time.Millisecond))
		}
		m.finishCommand(c, err == nil, code, text)
	})
}

// finishCommand writes the outcome, with a few attempts: without it the row
// would only expire.
func (m *Manager) finishCommand(c cloudstore.Command, done bool, code, text string) {
	for attempt := range 5 {
		ctx, cancel := context.WithTimeout(context.Background(), stateTime)
		err := m.opt.Store.FinishCommand(ctx, c.ID, m.opt.Lease.Incarnation(), done, code, text, nil)
		cancel()
		if err == nil || errors.Is(err, cloudstore.ErrFenced) {
			return
		}
		m.log.Warn("outcome of command not written", "command", c.ID, "error", err)
		select {
		case <-m.life.Done():
			return
		case <-time.After(time.Second << attempt):
		}
	}
}

func (m *Manager) execute(ctx context.Context, c cloudstore.Command) error {
	switch c.Kind {
	case cloudstore.CommandSync:
		return m.Sync(ctx, c.SessionID)
	case cloudstore.CommandRestore:
		return m.Restore(ctx, c.SessionID)
	default:
		return fmt.Errorf("this connector doesn't know commands of kind %q", c.Kind)
	}
}

// codeOf gives an error the code and the text that go into the command's row.
// The text is shown to API users, so it names no internals.
func codeOf(err error) (code, text string) {
	switch {
	case err == nil:
		return "", ""
	case errors.Is(err, ErrNoSession):
		return codeNoSession, "Session not found in cloud"
	case errors.Is(err, ErrNotOpen):
		return codeNotOpen, "Session is not open on this connector"
	case errors.Is(err, ErrElsewhere):
		return codeElsewhere, "Session is held by another connector"
	case errors.Is(err, whatsapp.ErrLoggedOut):
		return codeLoggedOut, "Session is logged out: pair it again"
	default:
		return codeFailed, "The connector could not carry out the command; its log says why"
	}
}

// Sync makes everything that is dirty now durable in TiDB (P8). A session whose
// cloud copy was deleted gets a new one.
func (m *Manager) Sync(ctx context.Context, id string) error {
	s, err := m.entry(id)
	if err != nil {
		return err
	}
	o := s.current()
	if o == nil || o.fresh.Load() {
		return ErrNotOpen
	}
	if o.rep.Err() != nil || o.local.Load() {
		if o, err = m.backUpAgain(ctx, s, o); err != nil {
			return err
		}
	}
	return o.rep.Flush(ctx)
}

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
	if owner.Epoch != o.taken.Epoch || owner.Backup != cloudstore.BackupOff {
		return nil, fmt.Errorf("sync: %w", ErrElsewhere)
	}
	state, err := o.file.State(ctx)
	if err != nil {
		return nil, fmt.Errorf("read session file: %w", err)
	}
	o.rep.Close()
	taken, err := m.take(ctx, s, &prior{}, openRequest{reason: "sync after delete", again: true})
	if err != nil {
		return nil, err
	}
	rep, err := m.opt.Replicator.Attach(ctx, o.file, replicate.Term{
		SessionID: s.id, Epoch: taken.Epoch, Start: replicate.StartNew, Salt: state.Salt,
		Backup: cloudstore.BackupFull, BootID: state.BootID,
	})
	if err != nil {
		return nil, fmt.Errorf("attach replication: %w", err)
	}
	next := &opened{taken: taken, file: o.file, wa: o.wa, rep: rep}
	s.setCurrent(next)
	rep.Changed()
	m.watch(s, next)
	s.log.Info("session is backed up again", "epoch", taken.Epoch)
	return next, nil
}

// Restore brings the session back from the cloud on this connector. One that is
// open here is closed exactly and loaded again, which is what the specification
// calls a reload.
func (m *Manager) Restore(ctx context.Context, id string) error {
	s, err := m.entry(id)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.current(); o != nil {
		if o.local.Load() || o.fresh.Load() {
			return ErrNoSession // it is here, but nothing of it is in the cloud
		}
		if err := m.closeLocked(ctx, s, release{reserveFor: m.opt.Lease.ConnectorID(), wanted: cloudstore.WantedOpen}); err != nil {
			s.log.Warn("session not closed exactly before the reload", "error", err)
		}
	}
	if err := m.openLocked(ctx, s, openRequest{reason: "restore", byCommand: true}); err != nil {
		return err
	}
	s.succeeded()
	return m.waitConnected(ctx, s)
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
		switch state, detail := s.stateNow(); {
		case state.Live():
			return nil
		case state == whatsapp.StateLoggedOut:
			return whatsapp.ErrLoggedOut
		case state.Final():
			return fmt.Errorf("session is %s: %s", state, detail)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
