package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.mau.fi/whatsmeow/types"
	"golang.org/x/sync/errgroup"

	"cloudsession/connector/watest"
	"cloudsession/infra/local/rig"
)

// fleet is a system with sessions that one connector holds. The simulated
// service, the phones, the queue and the API's gateway run in this process; the
// database and each connector in their own.
type fleet struct {
	*rig.Rig
	dir      string
	capacity int
	holder   *rig.Connector
	devices  []types.JID
	phones   []*watest.Phone
	memory   []memory // of the holder, while sessions were added

	metricsAddr string // the holder's
}

// newFleet starts a system and the connector that will hold n sessions.
func newFleet(ctx context.Context, n int) (_ *fleet, err error) {
	watest.SilenceSignal()
	f := &fleet{capacity: 2 * n}
	if f.dir, err = os.MkdirTemp("", "cloudsession-bench-*"); err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	if f.Rig, err = rig.Start(ctx, rig.Options{Dir: filepath.Join(f.dir, "stack"), Out: io.Discard, Built: true}); err != nil {
		return nil, errors.Join(err, os.RemoveAll(f.dir))
	}
	if f.metricsAddr, err = freeAddr(ctx); err == nil {
		f.holder, err = f.connector(ctx, "a", "METRICS_ADDR="+f.metricsAddr)
	}
	if err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

func (f *fleet) close() error { return errors.Join(f.Close(), os.RemoveAll(f.dir)) }

func (f *fleet) connector(ctx context.Context, id string, env ...string) (*rig.Connector, error) {
	return f.StartConnector(ctx, id, filepath.Join(f.dir, id), append(env, fmt.Sprintf("CAPACITY=%d", f.capacity))...)
}

// freeAddr is a loopback address that nothing listens on at the moment.
func freeAddr(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

func sessionName(n int) string { return fmt.Sprintf("session %d", n) }

// pair links sessions to the holder until it has n, a few at a time.
func (f *fleet) pair(ctx context.Context, n int) error {
	have := len(f.devices)
	f.devices = append(f.devices, make([]types.JID, n-have)...)
	f.phones = append(f.phones, make([]*watest.Phone, n-have)...)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for i := have; i < n; i++ {
		g.Go(func() error {
			phone, err := f.WhatsApp.NewPhone(fmt.Sprintf("62812%07d", i), "Owner")
			if err != nil {
				return err
			}
			if err := f.holder.Pair(ctx, sessionName(i), phone); err != nil {
				return err
			}
			f.phones[i], f.devices[i] = phone, phone.Devices()[0]
			return nil
		})
	}
	return g.Wait()
}

// waitDurable waits until c has nothing that is not in TiDB yet, and every
// session is connected.
func (f *fleet) waitDurable(ctx context.Context, c *rig.Connector) error {
	every := time.NewTicker(200 * time.Millisecond)
	defer every.Stop()
	for {
		list, err := c.Sessions(ctx)
		if err != nil {
			return err
		}
		ready := 0
		for _, s := range list {
			if s.State == "connected" && !s.Pending && s.SyncedAt != nil {
				ready++
			}
		}
		if ready == len(f.devices) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d sessions are connected and in TiDB: %w", ready, len(f.devices), ctx.Err())
		case <-every.C:
		}
	}
}

// logins is how often each session has logged in so far.
func (f *fleet) logins() []int {
	n := make([]int, len(f.devices))
	for i, device := range f.devices {
		n[i] = f.WhatsApp.Device(device).Logins
	}
	return n
}

// waitBack returns how long after began each session had a socket again, having
// logged in more often than before. It looks every 20 ms.
func (f *fleet) waitBack(ctx context.Context, before []int, began time.Time) ([]time.Duration, error) {
	took := make([]time.Duration, len(f.devices))
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for left := len(took); left > 0; {
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%d sessions have no socket: %w", left, ctx.Err())
		case <-tick.C:
		}
		for i, device := range f.devices {
			if took[i] != 0 {
				continue
			}
			if info := f.WhatsApp.Device(device); info.Active && info.Logins > before[i] {
				took[i] = time.Since(began)
				left--
			}
		}
	}
	slices.Sort(took)
	return took, nil
}

// fleetOfMany returns the sessions that idle, live and failover share, and notes
// the holder's memory while they are added.
func (b *bench) fleetOfMany(ctx context.Context) (*fleet, error) {
	if b.many != nil || b.manyErr != nil {
		return b.many, b.manyErr
	}
	b.many, b.manyErr = b.makeFleet(ctx)
	return b.many, b.manyErr
}

func (b *bench) makeFleet(ctx context.Context) (*fleet, error) {
	f, err := newFleet(ctx, b.sessions)
	if err != nil {
		return nil, err
	}
	for _, n := range []int{0, b.sessions / 2, b.sessions} {
		fmt.Fprintf(b.progress, "pairing sessions until there are %d …\n", n)
		if err = f.pair(ctx, n); err == nil {
			err = f.waitDurable(ctx, f.holder)
		}
		if err == nil {
			err = f.noteMemory(ctx, b.settle)
		}
		if err != nil {
			return nil, errors.Join(err, f.close())
		}
	}
	return f, nil
}

// disband stops the shared sessions.
func (b *bench) disband() error {
	if b.many == nil {
		return nil
	}
	f := b.many
	b.many = nil
	return f.close()
}

// pause waits for d, or for the end of ctx, which is an error.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
