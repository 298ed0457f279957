package manager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"cloudsession/connector/ownership"
	"cloudsession/connector/whatsapp"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/command"
)

// ErrNotLive means that the connector a session shall go to does not run.
var ErrNotLive = errors.New("connector is not live")

// errHandedOn: another connector is in charge of the command now.
var errHandedOn = errors.New("command handed on to another connector")

const (
	// handoverReserve is how long a session that was handed over waits for its
	// target: five heartbeats, should the knock on its door be lost. Then any
	// connector may have it, the one it came from among them.
	handoverReserve = 15 * time.Second
	// handoverPatience is how long a target waits for a session it was told of.
	handoverPatience = 15 * time.Second
	handoverLook     = 20 * time.Millisecond
	knockTime        = 2 * time.Second
)

// target is the connector a restore names, or "".
func target(c cloudstore.Command) (string, error) {
	var args struct {
		Connector string `json:"connector"`
	}
	if len(c.Args) > 0 {
		if err := json.Unmarshal(c.Args, &args); err != nil {
			return "", fmt.Errorf("read arguments of command: %w", err)
		}
	}
	return args.Connector, nil
}

// restoreCommand carries out a restore: here, or by handing the session over to
// the connector it names.
func (m *Manager) restoreCommand(ctx context.Context, c cloudstore.Command) error {
	name, err := target(c)
	if err != nil {
		return err
	}
	if name == "" || name == m.opt.Lease.ConnectorID() {
		return m.restoreHere(ctx, c)
	}
	return m.handOver(ctx, c, name)
}

// handOver closes the session exactly and leaves it, and the command, to another
// connector (O6). That one has heard of it before anything is closed, and is
// ready to open it at once. Nothing is closed for a target that can't have it.
func (m *Manager) handOver(ctx context.Context, c cloudstore.Command, name string) error {
	s, err := m.entry(c.SessionID)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current() == nil {
		if mine, err := m.passOn(ctx, c, name); err != nil || !mine {
			return err
		}
		// An earlier process of this connector held it: what it left must be
		// pushed and sealed before anybody else can go on from it.
		if err := m.openLocked(ctx, s, openRequest{reason: "handover", byCommand: true}); err != nil {
			return err
		}
	}
	if o := s.current(); o.local.Load() || o.fresh.Load() {
		return ErrNoSession // it is here, but nothing of it is in the cloud
	}
	to, err := m.liveTarget(ctx, name)
	if err != nil {
		return err
	}
	m.announce(ctx, to, c)
	return m.closeFor(ctx, s, c, name)
}

// closeFor is the part of a handover that must not be cut short.
func (m *Manager) closeFor(ctx context.Context, s *session, c cloudstore.Command, name string) error {
	handed := false
	err := m.closeInTime(ctx, s, release{reserveFor: name, wanted: cloudstore.WantedOpen, command: &c, handed: &handed})
	if handed {
		m.opt.Observer.HandedOver()
		s.log.InfoContext(ctx, "session handed over", "to", name)
		return errHandedOn
	}
	if err != nil {
		return fmt.Errorf("close session to hand it over: %w", err)
	}
	// It came to its end while it was being closed.
	state, detail := s.stateNow()
	if err := finalError(state, detail); err != nil {
		return err
	}
	return fmt.Errorf("hand session over: it is %s: %w", state, ErrElsewhere)
}

// passOn gives the command to whoever can act on it, for a session that isn't
// open here. mine says that the session is this connector's all the same.
func (m *Manager) passOn(ctx context.Context, c cloudstore.Command, name string) (mine bool, err error) {
	owner, err := m.opt.Store.Owner(ctx, c.SessionID)
	if err != nil && !errors.Is(err, cloudstore.ErrNotFound) {
		return false, fmt.Errorf("read owner of session: %w", err)
	}
	switch owner.ConnectorID {
	case m.opt.Lease.ConnectorID():
		return true, nil
	case name:
		if whatsapp.State(owner.State).Live() {
			return false, nil
		}
	case "":
	default: // it has moved: its owner can hand it over
		if holder, err := m.opt.Store.Connector(ctx, owner.ConnectorID); err == nil && holder.Live {
			return false, m.retarget(ctx, c, holder)
		}
	}
	to, err := m.liveTarget(ctx, name)
	if err != nil {
		return false, errors.Join(err, m.decline(ctx, c.SessionID, name))
	}
	return false, m.retarget(ctx, c, to)
}

func (m *Manager) retarget(ctx context.Context, c cloudstore.Command, to cloudstore.Connector) error {
	if err := m.opt.Store.RetargetCommand(ctx, c.ID, m.opt.Lease.Incarnation(), to.ID); err != nil {
		return err
	}
	m.announce(ctx, to, c)
	return errHandedOn
}

// liveTarget looks a connector up that shall take a session. It returns
// ErrNotLive, ErrDraining or ErrFull.
func (m *Manager) liveTarget(ctx context.Context, name string) (cloudstore.Connector, error) {
	to, err := m.opt.Store.Connector(ctx, name)
	switch {
	case errors.Is(err, cloudstore.ErrNotFound):
		err = ErrNotLive
	case err != nil:
	case !to.Live:
		err = ErrNotLive
	case to.Draining:
		err = ErrDraining
	case freeOf(to) == 0:
		err = ErrFull
	}
	if err != nil {
		return to, fmt.Errorf("hand session over to connector %s: %w", name, err)
	}
	return to, nil
}

// announce knocks on a connector's door. If that is lost, its heartbeat finds
// the command's row.
func (m *Manager) announce(ctx context.Context, to cloudstore.Connector, c cloudstore.Command) {
	if to.QueueURL == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, knockTime)
	defer cancel()
	err := m.opt.Queue.Send(ctx, to.QueueURL, command.Message{
		V: command.Version, CommandID: c.ID, SessionID: c.SessionID, Kind: c.Kind, Attempt: c.Attempt,
	})
	if err != nil {
		m.logUnlessEnding(ctx, "command not announced to another connector; its heartbeat will find it", err)
	}
}

// comesHere reports whether another connector is carrying out a command that
// will bring its session here.
func (m *Manager) comesHere(c cloudstore.Command) bool {
	name, err := target(c)
	return err == nil && c.Kind == cloudstore.CommandRestore && c.State == cloudstore.CommandRunning &&
		name == m.opt.Lease.ConnectorID() && c.ConnectorID != name
}

// awaitHandover prepares for a session that another connector is closing for
// this one, waits until it has, and claims the command.
func (m *Manager) awaitHandover(c cloudstore.Command) (cloudstore.Command, bool, error) {
	ctx, cancel := context.WithTimeout(onBehalf(m.life, c), handoverPatience)
	defer cancel()
	if _, err := m.deriveKeys(ctx, c.SessionID); err != nil {
		m.logUnlessEnding(ctx, "derive keys ahead", err)
	}
	tick := time.NewTicker(handoverLook)
	defer tick.Stop()
	for {
		// A look only: the claim decides.
		row, err := m.opt.Store.Command(ctx, c.ID)
		if err == nil && (row.State != cloudstore.CommandRunning || row.ConnectorID != c.ConnectorID) {
			return m.claim(c.ID)
		}
		select {
		case <-ctx.Done():
			return c, false, nil // the heartbeat finds what comes later
		case <-tick.C:
		}
	}
}

// restoreHere brings the session back from the cloud on this connector. One that
// is open here is closed exactly and loaded again, which is what the
// specification calls a reload.
func (m *Manager) restoreHere(ctx context.Context, c cloudstore.Command) error {
	s, err := m.entry(c.SessionID)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.current(); o != nil {
		if o.rest {
			return m.reload(ctx, s)
		}
		if since, err := m.startedSince(ctx, s, c); err != nil || since {
			return errors.Join(err, m.waitConnected(ctx, s))
		}
		return m.reload(ctx, s)
	}
	leave, err := m.enter(false)
	if err == nil {
		err = m.openWhenFree(ctx, s)
		leave()
	}
	if err != nil {
		return errors.Join(err, m.decline(ctx, c.SessionID, m.opt.Lease.ConnectorID()))
	}
	s.succeeded()
	return m.waitConnected(ctx, s)
}

func (m *Manager) reload(ctx context.Context, s *session) error {
	if o := s.current(); o.local.Load() || o.fresh.Load() {
		return ErrNoSession // it is here, but nothing of it is in the cloud
	}
	leave := m.keep(s)
	defer leave()
	if err := m.closeInTime(ctx, s, release{reserveFor: m.opt.Lease.ConnectorID(), wanted: cloudstore.WantedOpen}); err != nil {
		s.log.WarnContext(ctx, "session not closed exactly before the reload", "error", err)
	}
	if err := m.openLocked(ctx, s, openRequest{reason: "restore", byCommand: true}); err != nil {
		return err
	}
	leave()
	s.succeeded()
	return m.waitConnected(ctx, s)
}

// decline gives a session that is reserved for a connector that can't open it
// back to the one that held it last, if that is live, else to whoever comes.
func (m *Manager) decline(ctx context.Context, id, name string) error {
	owner, err := m.opt.Store.Owner(ctx, id)
	if errors.Is(err, cloudstore.ErrNotFound) || err == nil && (owner.ConnectorID != "" || owner.ReservedFor != name) {
		return nil
	}
	next := ""
	if err == nil {
		next, err = m.lastHolder(ctx, owner)
	}
	if err != nil {
		return fmt.Errorf("give session back: %w", err)
	}
	if next == name {
		next = ""
	}
	return m.opt.Store.Unreserve(ctx, id, name, next, handoverReserve)
}

// lastHolder is the live connector whose term was the session's last, or "".
func (m *Manager) lastHolder(ctx context.Context, owner cloudstore.Owner) (string, error) {
	line, err := m.opt.Store.Lineage(ctx, owner.SessionID, owner.Epoch)
	if err != nil {
		return "", err
	}
	holder, err := m.opt.Store.Connector(ctx, line[0].ConnectorID)
	if errors.Is(err, cloudstore.ErrNotFound) || err == nil && (!holder.Live || holder.Draining || freeOf(holder) == 0) {
		return "", nil
	}
	return holder.ID, err
}

// startedSince reports whether the session's term here began after a command
// that was tried before was made: then it did its work, and only its outcome was
// lost.
func (m *Manager) startedSince(ctx context.Context, s *session, c cloudstore.Command) (bool, error) {
	if c.Attempt <= 1 {
		return false, nil
	}
	line, err := m.opt.Store.Lineage(ctx, s.id, s.epochNow())
	if err != nil {
		return false, fmt.Errorf("read the session's term: %w", err)
	}
	return line[0].StartedAt.After(c.CreatedAt), nil // both by TiDB's clock
}

// openWhenFree opens the session. If its owner's lease is over and nobody has
// buried it yet, that is waited for.
func (m *Manager) openWhenFree(ctx context.Context, s *session) error {
	for {
		err := m.openLocked(ctx, s, openRequest{reason: "restore", byCommand: true})
		if !errors.Is(err, ErrElsewhere) || !m.ownerDying(ctx, s.id) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(ownership.WatchEvery):
		}
	}
}

func (m *Manager) ownerDying(ctx context.Context, id string) bool {
	owner, err := m.opt.Store.Owner(ctx, id)
	if err != nil || owner.ConnectorID == "" {
		return err == nil // free by now: try again
	}
	holder, err := m.opt.Store.Connector(ctx, owner.ConnectorID)
	return err == nil && !holder.Live
}
