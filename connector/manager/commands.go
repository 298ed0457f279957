package manager

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"cloudsession/connector/logctx"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/command"
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
	if err := m.opt.Lease.Announce(ctx, url); err != nil {
		return "", err // and again: nobody sends to a queue that isn't in TiDB
	}
	return url, nil
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

// pollCommands finds commands whose message was lost, late or refused, and those
// that run under this process without its knowing: the answer to their claim, or
// to their end, was lost.
func (m *Manager) pollCommands(ctx context.Context) error {
	if _, err := m.opt.Store.ExpireCommands(ctx); err != nil {
		return err
	}
	at := m.works.list() // before the rows are read: what ends meanwhile is over
	pending, err := m.opt.Store.PendingCommands(ctx, m.opt.Lease.ConnectorID(), len(at))
	if err != nil {
		return err
	}
	for _, c := range pending {
		if !at[c.ID] {
			m.runCommand(c.ID)
		}
	}
	return nil
}

// runCommand claims and carries out a command on the manager's own time. A
// command that is done, claimed or unknown is left alone, and one that this
// process is at already: a message that comes twice does nothing twice.
func (m *Manager) runCommand(id string) {
	m.later(func() {
		if !m.works.begin(id) {
			return
		}
		defer m.works.end(id)
		c, claimed, err := m.claim(id)
		if err == nil && !claimed && m.comesHere(c) {
			c, claimed, err = m.awaitHandover(c)
		}
		if err != nil && !errors.Is(err, cloudstore.ErrNotFound) {
			m.logUnlessEnding(onBehalf(m.life, c), "claim command", err)
		}
		if claimed {
			m.carryOut(c)
		}
	})
}

// works are the commands that this process is at, from before their claim until
// their outcome is written. The zero value is ready.
type works struct {
	mu  sync.Mutex
	ids map[string]bool
}

// begin reports whether nobody was at the command yet.
func (w *works) begin(id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ids[id] {
		return false
	}
	if w.ids == nil {
		w.ids = map[string]bool{}
	}
	w.ids[id] = true
	return true
}

func (w *works) end(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.ids, id)
}

func (w *works) list() map[string]bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.ids)
}

// carryOut carries out a command that was claimed and writes its outcome.
func (m *Manager) carryOut(c cloudstore.Command) {
	log := m.log.With("session", c.SessionID, "kind", c.Kind)
	// A duration, since the deadline itself stands on another machine's clock.
	ctx, cancel := context.WithTimeout(onBehalf(m.life, c), c.Deadline.Sub(c.CreatedAt))
	defer cancel()
	started := time.Now()
	err := m.execute(ctx, c)
	took := time.Since(started)
	if errors.Is(err, errHandedOn) {
		m.opt.Observer.Command(c.Kind, CodeHandedOn, took)
		log.InfoContext(ctx, "command handed on", "took", took.Round(time.Millisecond))
		return
	}
	if m.cutShort(err) {
		log.InfoContext(ctx, "command left to whoever comes next: this connector is stopping", "took", took.Round(time.Millisecond))
		return
	}
	code, text := outcomeOf(err)
	m.opt.Observer.Command(c.Kind, code, took)
	if err != nil {
		log.WarnContext(ctx, "command failed", "code", code, "error", err)
	} else {
		log.InfoContext(ctx, "command done", "took", took.Round(time.Millisecond))
	}
	m.finishCommand(c, err == nil, code, text)
}

// cutShort reports whether a command was broken off because this process ends.
// That is no outcome. The row stays as it is, which is what a killed process
// leaves: once this incarnation is over the next process of this connector claims
// the command, or the session's new owner, or for a restore whoever is live. Given
// back before that it would find the session still held here, and fail.
func (m *Manager) cutShort(err error) bool {
	return errors.Is(err, ErrClosing) || m.life.Err() != nil && errors.Is(err, context.Canceled)
}

// onBehalf returns ctx for work on a command: what is logged with it names the
// command, and the request that asked for it.
func onBehalf(ctx context.Context, c cloudstore.Command) context.Context {
	if c.RequestID != "" {
		ctx = logctx.With(ctx, slog.String("request_id", c.RequestID))
	}
	if c.ID != "" {
		ctx = logctx.With(ctx, slog.String("command", c.ID))
	}
	return ctx
}

func (m *Manager) claim(id string) (c cloudstore.Command, claimed bool, err error) {
	return m.opt.Store.ClaimCommand(m.life, id, m.opt.Lease.ConnectorID(), m.opt.Lease.Incarnation())
}

// finishCommand writes the outcome, with a few attempts: without it a later
// heartbeat carries the command out again.
func (m *Manager) finishCommand(c cloudstore.Command, done bool, code, text string) {
	for attempt := range 5 {
		ctx, cancel := context.WithTimeout(onBehalf(context.Background(), c), stateTime)
		err := m.opt.Store.FinishCommand(ctx, c.ID, m.opt.Lease.Incarnation(), done, code, text, nil)
		cancel()
		if err == nil || errors.Is(err, cloudstore.ErrFenced) {
			return
		}
		m.log.WarnContext(ctx, "outcome of command not written", "error", err)
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
		return m.syncCommand(ctx, c)
	case cloudstore.CommandRestore:
		return m.restoreCommand(ctx, c)
	case cloudstore.CommandRekey:
		return m.rekeyCommand(ctx, c)
	default:
		return fmt.Errorf("this connector doesn't know commands of kind %q", c.Kind)
	}
}
