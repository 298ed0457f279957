// Package rekey has every session sealed under the current
// SESSION_ENCRYPTION_SECRET after it was changed. Rows of the log are never
// rewritten: whoever holds a session writes a fresh base and deletes what the old
// secret sealed, and a running connector does the same for sessions that nobody
// holds.
package rekey

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
	"golang.org/x/sync/errgroup"

	"cloudsession/connector/inspect"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/envelope"
)

const (
	// atOnce bounds how many sessions wait for connectors at the same time.
	atOnce = 16
	// patience is how long a connector may take for one session.
	patience = 2 * time.Minute
	look     = 100 * time.Millisecond
)

// Options say how to rekey.
type Options struct {
	// Only names the sessions to do; all when empty.
	Only []string
	// DryRun only counts.
	DryRun bool
	// Begin is told how many sessions there are to do, Progress after each. Both
	// may be nil.
	Begin    func(todo int)
	Progress func()
}

// Problem is a session that is still sealed under an old secret, and why.
type Problem struct {
	SessionID string
	Reason    string
}

// Summary says what a run came to.
type Summary struct {
	Done     int // sessions sealed anew and verified, or to be sealed anew
	Before   int // sessions that needed nothing
	Problems []Problem
}

// Rekeyer seals sessions anew. All fields are required.
type Rekeyer struct {
	Store *cloudstore.Store
	// Current holds the current secret alone: what it opens needs no other.
	Current *envelope.Keyring
}

// Run seals anew what needs it. It can be repeated, and goes on where an earlier
// run was cut short: what is sealed under the current secret is left alone. The
// error is for what could not be read; what went wrong with single sessions
// stands in the summary.
func (r Rekeyer) Run(ctx context.Context, o Options) (Summary, error) {
	var sum Summary
	var todo []cloudstore.Row
	err := r.Store.Rows(ctx, func(row cloudstore.Row) error {
		if len(o.Only) > 0 && !slices.Contains(o.Only, row.SessionID) {
			return nil
		}
		stale, err := r.stale(ctx, row)
		if stale {
			todo = append(todo, row)
		} else if err == nil {
			sum.Before++
		}
		return err
	})
	if err != nil {
		return sum, fmt.Errorf("rekey: %w", err)
	}
	if o.DryRun {
		sum.Done = len(todo)
		return sum, nil
	}
	if o.Begin != nil {
		o.Begin(len(todo))
	}
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(atOnce)
	for _, row := range todo {
		g.Go(func() error {
			err := r.one(ctx, row)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				sum.Problems = append(sum.Problems, Problem{row.SessionID, err.Error()})
			} else {
				sum.Done++
			}
			if o.Progress != nil {
				o.Progress()
			}
			return ctx.Err()
		})
	}
	err = g.Wait()
	slices.SortFunc(sum.Problems, func(a, b Problem) int { return strings.Compare(a.SessionID, b.SessionID) })
	return sum, err
}

// stale reports whether anything of a session needs another secret than the
// current one.
func (r Rekeyer) stale(ctx context.Context, row cloudstore.Row) (bool, error) {
	if !r.Current.SealedByCurrent(row.SessionID, row.Data) {
		return true, nil
	}
	headers, err := r.Store.SegmentHeaders(ctx, row.SessionID, envelope.KeyHeader)
	return slices.ContainsFunc(headers, func(h []byte) bool { return !r.Current.SealedByCurrent(row.SessionID, h) }), err
}

// one has one session sealed anew and verifies it with the current secret alone.
func (r Rekeyer) one(ctx context.Context, row cloudstore.Row) error {
	if err := r.order(ctx, row.SessionID); err != nil {
		return err
	}
	report, err := inspect.Verify(ctx, r.Store, r.Current, row.SessionID)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	if len(report.Faults) > 0 {
		return fmt.Errorf("it does not verify under the current secret alone: %s", report.Faults[0].Error)
	}
	return nil
}

// order has the connector that holds the session seal it anew, or any other if
// nobody holds it, and waits until it has.
func (r Rekeyer) order(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	target, err := r.target(ctx, id)
	if err != nil {
		return err
	}
	c, _, err := r.Store.CreateCommand(ctx, cloudstore.Command{
		ID: ulid.Make().String(), SessionID: id, Kind: cloudstore.CommandRekey, ConnectorID: target, Args: Args(r.Current, id),
		RequestedBy: "connector rekey", Deadline: time.Now().Add(patience),
	})
	if err != nil {
		return err
	}
	tick := time.NewTicker(look)
	defer tick.Stop()
	for c.FinishedAt == nil {
		select {
		case <-ctx.Done():
			return fmt.Errorf("connector %s has not done it in time; run this again", target)
		case <-tick.C:
		}
		if row, err := r.Store.Command(ctx, c.ID); err == nil {
			c = row // a look that fails is repeated
		}
	}
	switch {
	case c.State == cloudstore.CommandDone:
		return nil
	case c.Error != "":
		return fmt.Errorf("connector %s: %s", c.ConnectorID, c.Error)
	}
	return fmt.Errorf("connector %s did not come to it in time; run this again", c.ConnectorID)
}

// target is the session's live owner, or the live connector with the most room.
func (r Rekeyer) target(ctx context.Context, id string) (string, error) {
	owner, err := r.Store.Owner(ctx, id)
	if err != nil && !errors.Is(err, cloudstore.ErrNotFound) {
		return "", err
	}
	all, err := r.Store.Connectors(ctx)
	if err != nil {
		return "", err
	}
	best, room := "", -1
	for _, c := range all {
		switch free := c.Capacity - c.Sessions; {
		case !c.Live:
		case c.ID == owner.ConnectorID:
			return c.ID, nil
		case !c.Draining && free > room:
			best, room = c.ID, free
		}
	}
	switch {
	case owner.ConnectorID != "" && owner.Backup == cloudstore.BackupOff:
		return "", fmt.Errorf("only connector %s has it, which does not run", owner.ConnectorID)
	case best == "":
		return "", errors.New("no connector runs that could do it")
	}
	return best, nil
}
