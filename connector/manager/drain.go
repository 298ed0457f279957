package manager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
	"golang.org/x/sync/errgroup"

	"cloudsession/connector/control"
	"cloudsession/shared/cloudstore"
)

const (
	// drainAtOnce bounds how many sessions are on their way at the same time.
	drainAtOnce = 4
	// moveLifetime is how long the handover of one session may take altogether.
	moveLifetime = 2 * time.Minute
	// moveAttempts is how often a target is looked for when one turns out to be
	// full or gone.
	moveAttempts = 3
	moveLook     = 50 * time.Millisecond
)

var errDrainStopped = errors.New("draining was ended by `connector drain --stop`")

// Drain marks this connector as one that takes nothing any more, and hands its
// sessions over to others, a few at a time, each by a restore command of its own.
// It reports each session's outcome and returns when none is left that can be
// moved. If ctx ends, nothing new is begun, what is under way ends as it should,
// and the connector goes on draining. A second one waits for the first, and what
// ends draining meanwhile ends both.
func (l Local) Drain(ctx context.Context, report func(control.DrainEvent)) error {
	m := l.m
	undrained := m.undrained.Load()
	select { // an earlier one may still be ending
	case m.drains <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-m.drains }()
	if m.undrained.Load() != undrained {
		return errDrainStopped
	}
	if err := m.setDraining(ctx, true); err != nil {
		return err
	}
	d := drain{m: m, report: report, stays: map[string]bool{}, given: map[string]given{}}
	return d.run(ctx)
}

// Undrain lets this connector take sessions again.
func (l Local) Undrain(ctx context.Context) error {
	l.m.undrained.Add(1) // before the drain under way ends, which lets the next one in
	return l.m.setDraining(ctx, false)
}

// setDraining changes what this connector says of itself in TiDB, or nothing.
func (m *Manager) setDraining(ctx context.Context, on bool) error {
	before := m.draining.Swap(on)
	if err := m.opt.Lease.Renew(ctx); err != nil {
		m.draining.Store(before)
		return fmt.Errorf("note in TiDB whether this connector is draining: %w", err)
	}
	if before != on {
		m.log.Info("draining", "on", on)
	}
	return nil
}

// drain is one run of `connector drain`.
type drain struct {
	m *Manager

	mu     sync.Mutex
	report func(control.DrainEvent)
	moved  int
	stays  map[string]bool // sessions that can't be moved
	given  map[string]given
}

// given counts what a connector was sent since its row was last renewed: the row
// doesn't show it yet.
type given struct {
	renewal  time.Time
	sessions int
}

func (d *drain) run(ctx context.Context) error {
	left, err := d.left(ctx)
	if err != nil {
		return err
	}
	d.say(control.DrainEvent{Kind: "begin", Left: left})
	for {
		todo := d.todo()
		if len(todo) == 0 {
			break
		}
		var g errgroup.Group
		g.SetLimit(drainAtOnce)
		for _, s := range todo {
			if err := d.over(ctx); err != nil {
				return errors.Join(err, g.Wait())
			}
			g.Go(func() error { d.move(ctx, s); return nil })
		}
		if err := errors.Join(g.Wait(), d.over(ctx)); err != nil {
			return err
		}
	}
	if left, err = d.left(ctx); err != nil {
		return err
	}
	d.say(control.DrainEvent{Kind: "done", Moved: d.moved, Left: left})
	return nil
}

// left counts the sessions that are this connector's to keep open, as TiDB knows
// them: also one whose handover broke off and which is about to be opened again.
func (d *drain) left(ctx context.Context) (n int, err error) {
	rows, err := d.m.opt.Store.OwnersOf(ctx, d.m.opt.Lease.ConnectorID())
	for _, o := range rows {
		if o.Wanted == cloudstore.WantedOpen {
			n++
		}
	}
	return n, err
}

func (d *drain) over(ctx context.Context) error {
	switch {
	case d.m.life.Err() != nil:
		return ErrClosing
	case !d.m.draining.Load():
		return errDrainStopped
	}
	return ctx.Err()
}

// todo lists what is open here and may still be moved.
func (d *drain) todo() (list []*session) {
	held := d.m.held()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range held {
		if !d.stays[s.id] {
			list = append(list, s)
		}
	}
	return list
}

// say reports one event at a time.
func (d *drain) say(e control.DrainEvent) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.report(e)
}

// move hands one session over and reports how that went.
func (d *drain) move(ctx context.Context, s *session) {
	began := time.Now()
	reason, err := d.whyNot(ctx, s)
	var to string
	for attempt := 0; reason == "" && err == nil && attempt < moveAttempts && d.over(ctx) == nil; attempt++ {
		var done bool
		if to, done, reason, err = d.attempt(ctx, s); done {
			d.mu.Lock()
			d.moved++
			d.mu.Unlock()
			d.say(control.DrainEvent{Kind: "moved", SessionID: s.id, To: to, Millis: time.Since(began).Milliseconds()})
			return
		}
	}
	if d.over(ctx) != nil {
		return // told by the end of the run
	}
	if err != nil {
		s.log.Warn("session not moved", "error", err)
		reason = "the connector's log says why"
	}
	if reason == "" {
		reason = "every connector that was to take it turned out to be full or gone"
	}
	d.mu.Lock()
	d.stays[s.id] = true
	d.mu.Unlock()
	if reason != closedMeanwhile {
		d.say(control.DrainEvent{Kind: "stays", SessionID: s.id, Reason: reason})
	}
}

const closedMeanwhile = "it was closed meanwhile"

// whyNot says why a session is not to be moved by itself, "" if it is.
func (d *drain) whyNot(ctx context.Context, s *session) (string, error) {
	o := s.current()
	if o == nil {
		return closedMeanwhile, nil
	}
	if o.fresh.Load() {
		return "it is being paired", nil
	}
	if o.rest {
		return "it has ended: it stays until its application has taken what is left, or this connector stops", nil
	}
	owner, err := d.m.opt.Store.Owner(ctx, s.id)
	switch {
	case err != nil:
		return "", fmt.Errorf("read owner of session: %w", err)
	case owner.Backup == cloudstore.BackupOff:
		return "it is not backed up: its only copy is here", nil
	case owner.Backup == cloudstore.BackupCredentials:
		return "only its credentials are backed up: elsewhere it could not go on where it is", nil
	case owner.Failover == cloudstore.FailoverManual:
		return "its failover is manual: restore it onto another connector by name", nil
	}
	return "", nil
}

// attempt hands a session over to the connector with the most room. Neither done
// nor a reason: another attempt may work.
func (d *drain) attempt(ctx context.Context, s *session) (to string, done bool, reason string, err error) {
	all, err := d.m.opt.Store.Connectors(ctx)
	if err != nil {
		return "", false, "", err
	}
	if to, reason = d.choose(all); reason != "" {
		return "", false, reason, nil
	}
	c, err := d.m.order(ctx, s.id, to)
	if err != nil {
		return to, false, "", err
	}
	d.m.runCommand(c.ID)
	c, err = d.await(ctx, c)
	switch {
	case err != nil:
		return to, false, "", err
	case c.State == cloudstore.CommandDone:
		return to, true, "", nil
	case c.ErrorCode == "no_capacity" || c.ErrorCode == "connector_not_live" || c.ErrorCode == "connector_draining":
		return to, false, "", nil
	case c.Error == "":
		return to, false, "connector " + to + " did not come for it in time", nil
	}
	return to, false, c.Error, nil
}

// choose picks the connector with the most room, what was sent to it since its
// last renewal counted.
func (d *drain) choose(all []cloudstore.Connector) (to, reason string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	reason = "there is no other live connector that takes sessions"
	most := 0
	for _, c := range all {
		if !c.Live || c.Draining || c.ID == d.m.opt.Lease.ConnectorID() {
			continue
		}
		if !d.given[c.ID].renewal.Equal(c.LeaseUntil) {
			d.given[c.ID] = given{renewal: c.LeaseUntil}
		}
		if to == "" {
			reason = "no live connector has room"
		}
		if room := freeOf(c) - d.given[c.ID].sessions; room > most {
			most, to, reason = room, c.ID, ""
		}
	}
	if to != "" {
		g := d.given[to]
		g.sessions++
		d.given[to] = g
	}
	return to, reason
}

// order makes the command that moves a session, as a person's request would.
func (m *Manager) order(ctx context.Context, id, to string) (cloudstore.Command, error) {
	args, err := json.Marshal(map[string]string{"connector": to})
	if err != nil {
		return cloudstore.Command{}, fmt.Errorf("encode arguments of command: %w", err)
	}
	self := m.opt.Lease.ConnectorID()
	c, _, err := m.opt.Store.CreateCommand(ctx, cloudstore.Command{
		ID: ulid.Make().String(), SessionID: id, Kind: cloudstore.CommandRestore, Args: args, ConnectorID: self,
		RequestedBy: "drain of " + self, Deadline: time.Now().Add(moveLifetime),
	})
	return c, err
}

// await waits until a command is over, also when whoever asked for the drain has
// gone away: what is under way ends as it should, and the next drain waits for that.
// A look that fails says nothing.
func (d *drain) await(ctx context.Context, c cloudstore.Command) (cloudstore.Command, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), moveLifetime)
	defer cancel()
	tick := time.NewTicker(moveLook)
	defer tick.Stop()
	for {
		row, err := d.m.opt.Store.Command(ctx, c.ID)
		if err == nil && row.FinishedAt != nil {
			return row, nil
		}
		select {
		case <-ctx.Done():
			return c, errors.Join(ctx.Err(), err)
		case <-d.m.life.Done():
			return c, ErrClosing
		case <-tick.C:
		}
	}
}
