package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.mau.fi/whatsmeow/types"
	"golang.org/x/sync/errgroup"

	"cloudsession/connector/watest"
	"cloudsession/infra/local/rig"
)

const (
	// handoffs is how many times one session moves between two connectors.
	handoffs = 20
	// manySessions is how many sessions die with their connector at once.
	manySessions = 1000
)

// fleet is a system with sessions that are all held by one connector.
type fleet struct {
	*rig.Rig
	dir     string
	devices []types.JID
	phones  []*watest.Phone
}

func newFleet(ctx context.Context) (_ *fleet, err error) {
	watest.SilenceSignal()
	f := &fleet{}
	if f.dir, err = os.MkdirTemp("", "cloudsession-bench-*"); err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	if f.Rig, err = rig.Start(ctx, rig.Options{Dir: filepath.Join(f.dir, "stack"), Out: io.Discard}); err != nil {
		return nil, errors.Join(err, os.RemoveAll(f.dir))
	}
	return f, nil
}

func (f *fleet) close() error { return errors.Join(f.Close(), os.RemoveAll(f.dir)) }

func (f *fleet) connector(ctx context.Context, id string) (*rig.Connector, error) {
	return f.StartConnector(ctx, id, filepath.Join(f.dir, id), fmt.Sprintf("CAPACITY=%d", 2*manySessions))
}

func sessionName(n int) string { return fmt.Sprintf("session %d", n) }

// pair links n sessions to c, a few at a time.
func (f *fleet) pair(ctx context.Context, c *rig.Connector, n int) error {
	f.devices, f.phones = make([]types.JID, n), make([]*watest.Phone, n)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for i := range n {
		g.Go(func() error {
			phone, err := f.WhatsApp.NewPhone(fmt.Sprintf("62812%07d", i), "Owner")
			if err != nil {
				return err
			}
			if err := c.Pair(ctx, sessionName(i), phone); err != nil {
				return err
			}
			f.phones[i], f.devices[i] = phone, phone.Devices()[0]
			return nil
		})
	}
	return g.Wait()
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

// handoffGap measures graceful handoffs of one session between two connectors,
// asked for through the API, with texts going both ways all the while.
func handoffGap(ctx context.Context, progress io.Writer) (_ []row, err error) {
	fmt.Fprintln(progress, "measuring handoffs …")
	f, err := newFleet(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	a, err1 := f.connector(ctx, "a")
	b, err2 := f.connector(ctx, "b")
	peer, err3 := f.WhatsApp.NewPhone("6281300000001", "Peer")
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	if err := f.pair(ctx, a, 1); err != nil {
		return nil, err
	}
	traffic := f.StartTraffic(ctx, rig.TrafficOptions{
		Session: sessionName(0), Owner: f.phones[0], Peer: peer, Every: 100 * time.Millisecond,
		Connectors: func() []*rig.Connector { return []*rig.Connector{a, b} },
	})
	gaps := make([]time.Duration, 0, handoffs)
	for i := range handoffs {
		gap := f.WatchGap(ctx, f.devices[0])
		body := map[string]string{"connector": []string{"b", "a"}[i%2]}
		if _, err := f.Want(ctx, http.StatusOK, http.MethodPost, "/cloud/sessions/session%200/restore", body); err != nil {
			return nil, err
		}
		took, err := gap()
		if err != nil {
			return nil, err
		}
		gaps = append(gaps, took)
	}
	if err := errors.Join(traffic.Stop(), traffic.Account(ctx, a), f.WhatsApp.WaitNothingLost(ctx)); err != nil {
		return nil, err
	}
	slices.Sort(gaps)
	return []row{{
		"graceful handoff, socket closed to socket open",
		fmt.Sprintf("p50 %s, longest %s; messages lost: 0", gaps[len(gaps)/2].Round(time.Millisecond), gaps[len(gaps)-1].Round(time.Millisecond)),
		"≤ 1 s; lost 0",
		fmt.Sprintf("%d handoffs of one session by POST …/restore, ten texts a second each way (%d and %d in all), every one accounted for",
			handoffs, len(traffic.Received()), len(traffic.Sent())),
	}}, nil
}

// failover measures how long sessions are without a socket after kill -9 of the
// connector that held them, its disk erased, while another one lives.
func failover(ctx context.Context, progress io.Writer) ([]row, error) {
	var texts []string
	for _, n := range []int{1, manySessions} {
		fmt.Fprintf(progress, "measuring failover of %d sessions …\n", n)
		took, err := failoverOf(ctx, n)
		if err != nil {
			return nil, err
		}
		texts = append(texts, fmt.Sprintf("%d: p50 %s, last %s", n,
			took[len(took)/2].Round(10*time.Millisecond), took[len(took)-1].Round(10*time.Millisecond)))
	}
	return []row{{
		fmt.Sprintf("failover after kill -9, one session / %d sessions", manySessions),
		texts[0] + "; " + texts[1],
		"≤ 15 s / ≤ 30 s, of which 10 s lease",
		"kill -9 and disk erased to the socket open on the other connector, by a safe start each; service, database and both connectors on the same cores",
	}}, nil
}

func failoverOf(ctx context.Context, n int) (_ []time.Duration, err error) {
	f, err := newFleet(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	a, err := f.connector(ctx, "a")
	if err != nil {
		return nil, err
	}
	if err := f.pair(ctx, a, n); err != nil {
		return nil, err
	}
	if _, err := f.connector(ctx, "b"); err != nil {
		return nil, err
	}
	for i := range n { // as it is after a while: all of it in TiDB
		if _, err := f.Want(ctx, http.StatusOK, http.MethodPost, fmt.Sprintf("/cloud/sessions/session%%20%d/sync", i), nil); err != nil {
			return nil, err
		}
	}
	before := f.logins()
	if err := errors.Join(a.Kill9(), os.RemoveAll(a.DataDir())); err != nil {
		return nil, err
	}
	return f.waitBack(ctx, before, time.Now())
}
