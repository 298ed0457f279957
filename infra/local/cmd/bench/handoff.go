package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"cloudsession/infra/local/rig"
)

// handoffs is how many times one session moves between two connectors.
const handoffs = 20

// handoffGap measures graceful handoffs of one session between two connectors,
// asked for through the API, with texts going both ways all the while.
func handoffGap(b *bench, ctx context.Context) (_ []row, err error) {
	fmt.Fprintln(b.progress, "measuring handoffs …")
	f, err := newFleet(ctx, 1)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	other, err1 := f.connector(ctx, "b")
	peer, err2 := f.WhatsApp.NewPhone("6281300000001", "Peer")
	if err := errors.Join(err1, err2, f.pair(ctx, 1)); err != nil {
		return nil, err
	}
	traffic := f.StartTraffic(ctx, rig.TrafficOptions{
		Session: sessionName(0), Owner: f.phones[0], Peer: peer, Every: 100 * time.Millisecond,
		Connectors: func() []*rig.Connector { return []*rig.Connector{f.holder, other} },
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
	lost, err := b.account(ctx, "handoff", f, f.holder, traffic)
	if err != nil {
		return nil, err
	}
	slices.Sort(gaps)
	longest := gaps[len(gaps)-1]
	return []row{{
		what:     "graceful handoff, socket closed to socket open",
		measured: fmt.Sprintf("p50 %s, longest %s; messages lost: %d", gaps[len(gaps)/2].Round(time.Millisecond), longest.Round(time.Millisecond), lost),
		target:   "≤ 1 s; lost 0",
		met:      longest <= time.Second && lost == 0,
		how: fmt.Sprintf("%d handoffs of one session by POST …/restore, ten texts a second each way (%d and %d in all), every one accounted for",
			handoffs, len(traffic.Received()), len(traffic.Sent())),
	}}, nil
}
