package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"cloudsession/infra/local/rig"
)

const (
	// talking is how many of the sessions that fail over have texts going both
	// ways meanwhile, one a second each way.
	talking = 20
	// derivation is how long a connector that stands by takes to derive the keys of
	// one session more: 18 ms at a tenth of a core. It looks for new ones every minute.
	derivation = 200 * time.Millisecond
	lookAround = time.Minute
	// arrival is how long after the last session is back a text may still be on its
	// way: a safe start asks for some of them again.
	arrival = time.Minute
	// warmUp is how long texts go both ways before anything happens to them.
	warmUp = 5 * time.Second
)

// failoverOne measures the failover of a single session.
func failoverOne(b *bench, ctx context.Context) (_ []row, err error) {
	f, err := newFleet(ctx, 1)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	if err := f.pair(ctx, 1); err != nil {
		return nil, err
	}
	return b.failover(ctx, f, "failover1", 15*time.Second)
}

// failoverMany measures the failover of all the shared sessions, which ends their
// holder.
func failoverMany(b *bench, ctx context.Context) (_ []row, err error) {
	f, err := b.fleetOfMany(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.disband()) }()
	return b.failover(ctx, f, "failover", 30*time.Second)
}

// failover measures how long sessions are without a socket after kill -9 of the
// connector that held them, its disk erased, while another one lives.
func (b *bench) failover(ctx context.Context, f *fleet, name string, target time.Duration) ([]row, error) {
	n := len(f.devices)
	heir, err := f.connector(ctx, "heir", fmt.Sprintf("STOP_SECONDS=%d", int(stopPatience.Seconds())))
	if err != nil {
		return nil, err
	}
	ahead := lookAround + time.Duration(n)*derivation
	fmt.Fprintf(b.progress, "measuring failover of %d sessions, once their keys are derived ahead (%s) …\n", n, ahead)
	if err := pause(ctx, ahead); err != nil {
		return nil, err
	}
	if err := f.waitDurable(ctx, f.holder); err != nil {
		return nil, err
	}
	traffic, err := f.talk(ctx, min(n, talking), heir)
	if err != nil {
		return nil, err
	}
	before := f.logins()
	if err := errors.Join(f.holder.Kill9(), os.RemoveAll(f.holder.DataDir())); err != nil {
		return nil, err
	}
	used, err1 := f.usage(heir)
	took, err2 := f.waitBack(ctx, before, time.Now())
	now, err3 := f.usage(heir)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	lost, err := b.account(ctx, name, f, heir, traffic...)
	if err != nil {
		return nil, err
	}
	stop, err := cleanStop(heir, n)
	if err != nil {
		return nil, err
	}
	last := took[len(took)-1]
	return []row{{
		what: fmt.Sprintf("failover after kill -9, %d sessions", n),
		measured: fmt.Sprintf("p50 %s, last %s; messages lost: %d; core-seconds: heir %.1f, TiDB %.1f, service and phones %.1f",
			took[len(took)/2].Round(10*time.Millisecond), last.Round(10*time.Millisecond), lost,
			(now[0].cpu - used[0].cpu).Seconds(), (now[1].cpu - used[1].cpu).Seconds(), (now[2].cpu - used[2].cpu).Seconds()),
		target: fmt.Sprintf("≤ %s, of which 10 s lease; lost 0", target),
		met:    last <= target && lost == 0,
		how: fmt.Sprintf("kill -9 and disk erased to the socket open on the other connector, by a safe start each, keys derived ahead; "+
			"%d of them with a text a second each way, every one accounted for; service, phones, database and both connectors on the same cores", len(traffic)),
	}, stop}, nil
}

const (
	stopTarget   = 10 * time.Second // STOP_SECONDS, unless it is set
	stopPatience = time.Minute
)

// cleanStop ends a connector that holds n sessions.
func cleanStop(c *rig.Connector, n int) (row, error) {
	began := time.Now()
	if err := c.Stop(stopPatience + time.Second); err != nil {
		return row{}, err
	}
	took := time.Since(began)
	return row{
		what:     fmt.Sprintf("clean stop, %d sessions", n),
		measured: took.Round(10 * time.Millisecond).String(),
		target:   fmt.Sprintf("≤ %s", stopTarget),
		met:      took <= stopTarget,
		how:      "SIGTERM to the end of the process: sockets closed, everything pushed, every log sealed and every session given up, after the failover",
	}, nil
}

// talk starts traffic on the first n sessions, each with a peer of its own, and
// lets it get going.
func (f *fleet) talk(ctx context.Context, n int, heir *rig.Connector) ([]*rig.Traffic, error) {
	var all []*rig.Traffic
	for i := range n {
		peer, err := f.WhatsApp.NewPhone(fmt.Sprintf("62813%07d", i), "Peer")
		if err != nil {
			return nil, err
		}
		all = append(all, f.StartTraffic(ctx, rig.TrafficOptions{
			Session: sessionName(i), Owner: f.phones[i], Peer: peer, Every: time.Second, Again: 500 * time.Millisecond,
			Connectors: func() []*rig.Connector { return []*rig.Connector{f.holder, heir} },
		}))
	}
	return all, pause(ctx, warmUp)
}

// account ends traffic, adds what became of it to the tally, and returns how many
// texts were lost. c holds the sessions now.
func (b *bench) account(ctx context.Context, name string, f *fleet, c *rig.Connector, traffic ...*rig.Traffic) (lost int, err error) {
	for _, t := range traffic {
		err = errors.Join(err, t.Stop())
	}
	if err != nil {
		return 0, err
	}
	patience, cancel := context.WithTimeout(ctx, arrival)
	defer cancel()
	counts := make([]rig.Count, len(traffic))
	for i, t := range traffic {
		if counts[i], err = t.Count(patience, ctx, c); err != nil {
			return 0, err
		}
		lost += counts[i].Lost
	}
	b.tally.note(name, f, counts...)
	return lost, nil
}
