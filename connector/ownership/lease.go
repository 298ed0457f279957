package ownership

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"cloudsession/shared/cloudstore"
)

// Lease timing (O1). The margin is what burying another connector waits beyond
// the end of its lease, for skew between TiDB's servers.
const (
	LeaseDuration = 10 * time.Second
	RenewEvery    = 3 * time.Second
	buryMargin    = 2 * time.Second
	// WatchEvery is the time between renewals while another connector's lease is
	// over: its sessions wait for its burial.
	WatchEvery = 500 * time.Millisecond
)

// ErrLost means that this connector's incarnation is over: another process
// took its place, or a peer buried it. Every session it holds must be closed.
var ErrLost = errors.New("this connector's lease was taken over")

// Store is what a lease needs of the database. RenewLease and RegisterConnector
// return cloudstore.ErrFenced and cloudstore.ErrIncarnation as documented there.
type Store interface {
	RegisterConnector(ctx context.Context, c cloudstore.Connector, storedIncarnation string, lease time.Duration) error
	RenewLease(ctx context.Context, id, incarnation string, lease time.Duration, load cloudstore.Load) (cloudstore.LeaseGrant, error)
	BuryConnector(ctx context.Context, id, by, byIncarnation string, margin time.Duration) (bool, error)
	BuryNamesake(ctx context.Context, id, incarnation string, margin time.Duration) (bool, error)
	RetireConnector(ctx context.Context, id, incarnation string) error
	SetQueueURL(ctx context.Context, id, incarnation, url string) error
	Connector(ctx context.Context, id string) (cloudstore.Connector, error)
	Connectors(ctx context.Context) ([]cloudstore.Connector, error)
}

// Options configures a Lease.
type Options struct {
	Store Store
	Dir   *Dir
	// Connector is this process as the others see it; its incarnation and
	// lease fields are filled in by Register.
	Connector cloudstore.Connector
	// Load reports, at each renewal, how busy this connector is.
	Load func() cloudstore.Load
	Log  *slog.Logger

	now func() time.Duration // the boot-time clock; replaced by tests
}

// Lease is this process's claim to be its connector.
type Lease struct {
	opt         Options
	incarnation string

	mu       sync.Mutex
	until    time.Duration // on the boot-time clock; counted from before the request was sent
	answered bool          // TiDB granted the last renewal
}

// Register takes the connector's place in TiDB by compare-and-swap: from an
// incarnation remembered in the data directory, or from one that is dead. It
// returns cloudstore.ErrIncarnation if a live connector elsewhere has this id.
func Register(ctx context.Context, opt Options) (*Lease, error) {
	if opt.now == nil {
		opt.now = BootClock
	}
	old, err := opt.Dir.incarnations()
	if err != nil {
		return nil, err
	}
	fresh := ulid.MustNew(ulid.Now(), rand.Reader).String()
	// Written before the swap: a crash in between leaves both candidates.
	if err := opt.Dir.setIncarnations(slices.Concat([]string{fresh}, old)...); err != nil {
		return nil, err
	}
	l := &Lease{opt: opt, incarnation: fresh}
	l.opt.Connector.Incarnation = fresh
	if err := l.swap(ctx, old); errors.Is(err, cloudstore.ErrIncarnation) {
		// The answer to every candidate: fresh is nowhere in TiDB. Whoever waits for
		// this place and tries again would else have one candidate more each time.
		return nil, errors.Join(err, opt.Dir.setIncarnations(old...))
	} else if err != nil {
		return nil, err
	}
	return l, opt.Dir.setIncarnations(fresh)
}

func (l *Lease) swap(ctx context.Context, old []string) error {
	candidates := old
	if len(candidates) == 0 {
		candidates = []string{""}
	}
	var err error
	for _, candidate := range candidates {
		start := l.opt.now()
		err = l.opt.Store.RegisterConnector(ctx, l.opt.Connector, candidate, LeaseDuration)
		if err == nil {
			l.extend(start)
			return nil
		}
		if !errors.Is(err, cloudstore.ErrIncarnation) {
			break
		}
	}
	return fmt.Errorf("register connector %s: %w", l.opt.Connector.ID, err)
}

// Incarnation identifies this process among all that ever ran as this connector.
func (l *Lease) Incarnation() string { return l.incarnation }

// ConnectorID is the connector's name.
func (l *Lease) ConnectorID() string { return l.opt.Connector.ID }

// Valid reports whether the lease still runs by the boot-time clock. False
// means only that this process can't be sure: the owner row decides.
func (l *Lease) Valid() bool { return l.Remaining() > 0 }

// Remaining is how long the lease still runs by the boot-time clock; 0 once it
// has run out.
func (l *Lease) Remaining() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(0, l.until-l.opt.now())
}

// Answered reports whether TiDB granted the last renewal that was tried.
func (l *Lease) Answered() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.answered
}

func (l *Lease) extend(from time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until, l.answered = max(l.until, from+LeaseDuration), true
}

func (l *Lease) unanswered() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answered = false
}

// Renew extends the lease once. ErrLost is final; any other error is not.
func (l *Lease) Renew(ctx context.Context) error {
	start := l.opt.now()
	_, err := l.opt.Store.RenewLease(ctx, l.opt.Connector.ID, l.incarnation, LeaseDuration, l.opt.Load())
	if err != nil {
		l.unanswered()
	}
	if errors.Is(err, cloudstore.ErrFenced) {
		return ErrLost
	}
	if err != nil {
		return fmt.Errorf("renew lease: %w", err)
	}
	l.extend(start)
	return nil
}

// Announce writes the URL of this connector's queue into its row. It does not
// touch the lease: a process that was buried meanwhile must not come back by it.
func (l *Lease) Announce(ctx context.Context, queueURL string) error {
	err := l.opt.Store.SetQueueURL(ctx, l.opt.Connector.ID, l.incarnation, queueURL)
	if errors.Is(err, cloudstore.ErrFenced) {
		return ErrLost
	}
	if err != nil {
		return fmt.Errorf("announce queue: %w", err)
	}
	return nil
}

// BuryDead marks connectors dead whose lease is well past (O2) and returns
// their ids. The database refuses unless this connector itself has renewed
// without a break for a full lease. dying: there are others whose lease is over
// but not yet for long enough, so a look after WatchEvery is worth its while.
func (l *Lease) BuryDead(ctx context.Context) (buried []string, dying bool, err error) {
	peers, err := l.opt.Store.Connectors(ctx)
	if err != nil {
		return nil, false, fmt.Errorf("list connectors: %w", err)
	}
	for _, p := range peers {
		if p.Dead || p.Live || p.ID == l.opt.Connector.ID {
			continue
		}
		dead, err := l.opt.Store.BuryConnector(ctx, p.ID, l.opt.Connector.ID, l.incarnation, buryMargin)
		if err != nil {
			return buried, dying, fmt.Errorf("bury connector %s: %w", p.ID, err)
		}
		if dead {
			buried = append(buried, p.ID)
		} else {
			dying = true
		}
	}
	return buried, dying, nil
}

// Retire ends the lease at once, so that others need not wait for it to run out.
func (l *Lease) Retire(ctx context.Context) error {
	l.mu.Lock()
	l.until = 0
	l.mu.Unlock()
	if err := l.opt.Store.RetireConnector(ctx, l.opt.Connector.ID, l.incarnation); err != nil {
		return fmt.Errorf("retire connector: %w", err)
	}
	return nil
}
