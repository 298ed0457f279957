package cloudstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Connector is a row of connectors: one process, by its connector id.
type Connector struct {
	ID           string
	Incarnation  string // ULID of the process, new at every start
	Dead         bool
	LeaseUntil   time.Time // TiDB's clock
	RenewedSince time.Time // since when it renewed without a break
	QueueURL     string
	Version      string
	Capacity     int
	Sessions     int
	Draining     bool
	StartedAt    time.Time
	Live         bool // not dead and within its lease, by TiDB's clock; ignored when writing
}

// Load is what a connector reports with each renewal.
type Load struct {
	Capacity, Sessions int
	Draining           bool
	SyncLag            time.Duration // age of the oldest change that is not durable yet; 0: none
}

// LeaseGrant is the answer to a renewal, in TiDB's clock.
type LeaseGrant struct {
	Now          time.Time
	LeaseUntil   time.Time
	RenewedSince time.Time
}

const (
	selectConnectors = `SELECT connector_id, incarnation, dead, lease_until, renewed_since, queue_url, version, capacity, sessions, draining, started_at,
		NOT dead AND lease_until > NOW(6) FROM connectors ORDER BY connector_id`
	selectConnector = `SELECT connector_id, incarnation, dead, lease_until, renewed_since, queue_url, version, capacity, sessions, draining, started_at,
		NOT dead AND lease_until > NOW(6) FROM connectors WHERE connector_id = ?`
	lockConnector = `SELECT connector_id, incarnation, dead, lease_until, renewed_since, queue_url, version, capacity, sessions, draining, started_at,
		NOT dead AND lease_until > NOW(6) FROM connectors WHERE connector_id = ? FOR UPDATE`
	insertConnector = `INSERT INTO connectors (incarnation, lease_us, lease_until, renewed_since, started_at, queue_url, version, capacity, sessions, draining, connector_id, retired)
		VALUES (?, ?, NOW(6) + INTERVAL ? MICROSECOND, NOW(6), NOW(6), ?, ?, ?, ?, ?, ?, FALSE)`
	replaceConnector = `UPDATE connectors SET incarnation = ?, lease_us = ?, lease_until = NOW(6) + INTERVAL ? MICROSECOND,
		renewed_since = NOW(6), started_at = NOW(6), queue_url = ?, version = ?, capacity = ?, sessions = ?, draining = ?, dead = FALSE,
		retired = FALSE, sync_lag_us = 0
		WHERE connector_id = ? AND incarnation = ?`
	// renewed_since stands before lease_until, whose old value it needs:
	// assignments run left to right.
	renewLease = `UPDATE connectors SET renewed_since = IF(lease_until < NOW(6), NOW(6), renewed_since),
		lease_us = ?, lease_until = NOW(6) + INTERVAL ? MICROSECOND, capacity = ?, sessions = ?, draining = ?,
		sync_lag_us = ?, retired = FALSE
		WHERE connector_id = ? AND incarnation = ? AND dead = FALSE`
	lockGrant = `SELECT NOW(6), lease_until, renewed_since FROM connectors
		WHERE connector_id = ? AND incarnation = ? AND dead = FALSE FOR UPDATE`
	// May this connector judge others: it is live, and has renewed without a
	// break for a whole lease.
	lockJudge = `SELECT NOT dead AND lease_until > NOW(6) AND renewed_since <= NOW(6) - INTERVAL lease_us MICROSECOND
		FROM connectors WHERE connector_id = ? AND incarnation = ? FOR UPDATE`
	buryConnector = `UPDATE connectors SET dead = TRUE
		WHERE connector_id = ? AND dead = FALSE AND lease_until < NOW(6) - INTERVAL ? MICROSECOND`
	buryNamesake = `UPDATE connectors SET dead = TRUE
		WHERE connector_id = ? AND incarnation = ? AND dead = FALSE AND lease_until < NOW(6) - INTERVAL ? MICROSECOND`
	announceQueue = `UPDATE connectors SET queue_url = ? WHERE connector_id = ? AND incarnation = ? AND dead = FALSE`
	lockLiving    = `SELECT NOT dead FROM connectors WHERE connector_id = ? AND incarnation = ? FOR UPDATE`

	retireConnector = `UPDATE connectors SET dead = TRUE, lease_until = NOW(6), sessions = 0, sync_lag_us = 0, retired = TRUE
		WHERE connector_id = ? AND incarnation = ? AND dead = FALSE`
)

// RegisterConnector enters a starting process under its connector id, with a
// first lease (O1): the row must not exist, or belong to a dead process, or to
// storedIncarnation, the one noted in the data directory this process has
// locked. Otherwise ErrIncarnation. Calling it again is harmless.
func (s *Store) RegisterConnector(ctx context.Context, c Connector, storedIncarnation string, lease time.Duration) error {
	if err := validateNames(c.ID, c.Incarnation); err != nil {
		return fmt.Errorf("register connector: %w", err)
	}
	if lease <= 0 {
		return fmt.Errorf("register connector: %w: lease %s", ErrBadInput, lease)
	}
	us := lease.Microseconds()
	args := []any{c.Incarnation, us, us, c.QueueURL, c.Version, c.Capacity, c.Sessions, c.Draining, c.ID}
	err := s.withTransaction(ctx, func(tx *sql.Tx) error {
		row, err := one(ctx, tx, scanConnector, lockConnector, c.ID)
		switch {
		case errors.Is(err, ErrNotFound):
			if _, err := execOn(ctx, tx, insertConnector, args...); !isDuplicate(err) {
				return err
			}
			return errStartOver
		case err != nil:
			return err
		case !row.Dead && row.Incarnation != storedIncarnation && row.Incarnation != c.Incarnation:
			return ErrIncarnation
		case row.Dead && row.Incarnation == c.Incarnation:
			return ErrIncarnation // what was declared dead stays dead, see holderDead
		}
		changed, err := execOn(ctx, tx, replaceConnector, append(args, row.Incarnation)...)
		if err == nil && changed == 0 {
			return errStartOver
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("register connector: %w", err)
	}
	return nil
}

// SetQueueURL writes where a live process takes its commands from. It extends
// nothing and revives nobody: ErrFenced when the incarnation is dead or replaced.
func (s *Store) SetQueueURL(ctx context.Context, id, incarnation, url string) error {
	err := s.withTransaction(ctx, func(tx *sql.Tx) error {
		alive, err := one(ctx, tx, scanBool, lockLiving, id, incarnation)
		if errors.Is(err, ErrNotFound) || err == nil && !alive {
			return ErrFenced
		}
		if err != nil {
			return err
		}
		_, err = execOn(ctx, tx, announceQueue, url, id, incarnation)
		return err
	})
	if err != nil {
		return fmt.Errorf("set queue of connector: %w", err)
	}
	return nil
}

// RenewLease extends the lease of a live process (O1). ErrFenced when it is
// dead or replaced: close everything. On another error the lease may or may not
// have been extended: only the last LeaseGrant, counted from before its call,
// can be relied on.
func (s *Store) RenewLease(ctx context.Context, id, incarnation string, lease time.Duration, load Load) (LeaseGrant, error) {
	us := lease.Microseconds()
	var grant LeaseGrant
	err := s.withTransaction(ctx, func(tx *sql.Tx) error {
		changed, err := execOn(ctx, tx, renewLease, us, us, load.Capacity, load.Sessions, load.Draining,
			max(0, load.SyncLag.Microseconds()), id, incarnation)
		if err != nil {
			return err
		}
		if changed == 0 {
			return ErrFenced
		}
		grant, err = one(ctx, tx, func(row scanner) (g LeaseGrant, err error) {
			err = row.Scan(&g.Now, &g.LeaseUntil, &g.RenewedSince)
			return g, err
		}, lockGrant, id, incarnation)
		return err
	})
	if err != nil {
		return LeaseGrant{}, fmt.Errorf("renew lease: %w", err)
	}
	return grant, nil
}

// BuryConnector declares a connector dead whose lease ended more than margin
// ago (O2) and reports whether this call did. Only a connector that has itself
// renewed without a break for a whole lease may: after an outage of the
// database the first one back would bury all others. ErrIncarnation when by is
// not live; false when it may not judge yet.
func (s *Store) BuryConnector(ctx context.Context, id, by, byIncarnation string, margin time.Duration) (buried bool, err error) {
	err = s.withTransaction(ctx, func(tx *sql.Tx) error {
		mayJudge, err := one(ctx, tx, scanBool, lockJudge, by, byIncarnation)
		if errors.Is(err, ErrNotFound) {
			return ErrIncarnation
		}
		if err != nil || !mayJudge {
			return err
		}
		changed, err := execOn(ctx, tx, buryConnector, id, max(0, margin.Microseconds()))
		buried = changed == 1
		return err
	})
	if err != nil {
		return false, fmt.Errorf("bury connector: %w", err)
	}
	return buried, nil
}

// BuryNamesake declares a process dead whose lease ended more than margin ago, for
// one that waits for its connector id, and reports whether this call did. Whether it
// was given the time to renew is for the caller to know: it has no lease of its own
// to show for it, as BuryConnector asks.
func (s *Store) BuryNamesake(ctx context.Context, id, incarnation string, margin time.Duration) (buried bool, err error) {
	changed, err := s.exec(ctx, buryNamesake, id, incarnation, max(0, margin.Microseconds()))
	if err != nil {
		return false, fmt.Errorf("bury namesake: %w", err)
	}
	return changed == 1, nil
}

// RetireConnector ends a process's own term cleanly: its sessions are released
// already, or free for others from now on. Calling it again is harmless.
func (s *Store) RetireConnector(ctx context.Context, id, incarnation string) error {
	if _, err := s.exec(ctx, retireConnector, id, incarnation); err != nil {
		return fmt.Errorf("retire connector: %w", err)
	}
	return nil
}

// Connectors returns all connectors ever seen, by id.
func (s *Store) Connectors(ctx context.Context) (all []Connector, err error) {
	err = s.retry(ctx, func() (err error) {
		all, err = collect(ctx, s.db, scanConnector, selectConnectors)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read connectors: %w", err)
	}
	return all, nil
}

// Connector returns one connector, or ErrNotFound.
func (s *Store) Connector(ctx context.Context, id string) (c Connector, err error) {
	err = s.retry(ctx, func() (err error) {
		c, err = one(ctx, s.db, scanConnector, selectConnector, id)
		return err
	})
	if err != nil {
		return Connector{}, fmt.Errorf("read connector: %w", err)
	}
	return c, nil
}

func scanConnector(row scanner) (c Connector, err error) {
	err = row.Scan(&c.ID, &c.Incarnation, &c.Dead, &c.LeaseUntil, &c.RenewedSince, &c.QueueURL, &c.Version,
		&c.Capacity, &c.Sessions, &c.Draining, &c.StartedAt, &c.Live)
	return c, err
}
