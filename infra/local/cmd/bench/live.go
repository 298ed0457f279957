package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"cloudsession/connector/watest"
	"cloudsession/infra/local/rig"
)

// flow is what happens to every live session, again and again.
type flow struct {
	every  time.Duration
	lasts  time.Duration
	change func(session int) error
}

// load is what a flow came to.
type load struct {
	changes                      int
	took                         time.Duration // until all were handed to the service
	durable                      histogram
	connector, database, service usage // what each process used more; memory as it is afterwards
	before                       usage // the connector's
}

// liveChanges measures the time from a change in a live session to its being
// durable, with all sessions changing, by the connector's own histogram.
func liveChanges(b *bench, ctx context.Context) ([]row, error) {
	f, err := b.fleetOfMany(ctx)
	if err != nil {
		return nil, err
	}
	peer, err := f.WhatsApp.NewPhone("6281400000001", "Peer")
	if err != nil {
		return nil, err
	}
	n := len(f.devices)
	fmt.Fprintf(b.progress, "measuring %d live sessions that change once a second, for %s …\n", n, b.duration)
	tokens, err := f.run(ctx, flow{time.Second, b.duration, func(i int) error { return peer.SendPrivacyToken(f.phones[i].PN()) }})
	if err != nil {
		return nil, err
	}
	const talk = 10 * time.Second
	fmt.Fprintf(b.progress, "measuring %d live sessions that get a text every %s …\n", n, talk)
	texts, err := f.run(ctx, flow{talk, max(b.duration/5, talk), f.sender(ctx, peer)})
	if err != nil {
		return nil, err
	}
	const p50, p99 = 300 * time.Millisecond, time.Second
	met := tokens.durable.within(0.5, p50) && tokens.durable.within(0.99, p99) && tokens.rate() >= 0.99*float64(n)
	return []row{{
		what:     fmt.Sprintf("change → durable, %d live sessions at 1 change/s each", n),
		measured: tokens.text(),
		target:   "p50 ≤ 300 ms, p99 ≤ 1 s, coalescing included",
		met:      met,
		how: fmt.Sprintf("for %s; a change is a contact's new privacy token, which the service announces and whatsmeow stores: the cheapest one there is, because a thousand phones that encrypt a text a second "+
			"take the cores for themselves; from the commit in the session file to the answer of TiDB, by the connector's metric %s (quantiles interpolated in its buckets; whether the target is met is exact). "+
			"Everything on this machine; simulated service, phones and queue are one process", b.duration, durable),
	}, {
		what:     fmt.Sprintf("text → durable, %d live sessions, a text every %s each", n, talk),
		measured: texts.text(),
		how: fmt.Sprintf("for %s; incoming texts, encrypted by one phone; their records wait for no coalescing (A1), what else changes with them does",
			max(b.duration/5, talk)),
	}}, nil
}

// sender lets peer write a new text to a session each time.
func (f *fleet) sender(ctx context.Context, peer *watest.Phone) func(int) error {
	n := 0
	return func(i int) error {
		n++
		_, err := peer.SendText(ctx, f.phones[i].PN(), fmt.Sprintf("live, text %d", n))
		return err
	}
}

// run lets a flow run, and waits until all of it is durable.
func (f *fleet) run(ctx context.Context, flow flow) (load, error) {
	before, histBefore, err := f.look(ctx)
	if err != nil {
		return load{}, err
	}
	began := time.Now()
	l := load{before: before[0]}
	step := flow.every / time.Duration(len(f.devices))
	for began.Add(time.Duration(l.changes) * step).Before(began.Add(flow.lasts)) {
		if err := pause(ctx, time.Until(began.Add(time.Duration(l.changes)*step))); err != nil {
			return l, err
		}
		if err := flow.change(l.changes % len(f.devices)); err != nil {
			return l, err
		}
		l.changes++
	}
	l.took = time.Since(began)
	after, histAfter, err := f.look(ctx)
	if err != nil {
		return l, err
	}
	if err := f.waitQuiet(ctx); err != nil {
		return l, err
	}
	l.durable = histAfter.since(histBefore)
	for i, u := range []*usage{&l.connector, &l.database, &l.service} {
		*u = usage{cpu: after[i].cpu - before[i].cpu, resident: after[i].resident}
	}
	return l, nil
}

// look reads the usage of the holder, the database and this process, and the histogram.
func (f *fleet) look(ctx context.Context) (u [3]usage, h histogram, err error) {
	if u, err = f.usage(f.holder); err != nil {
		return u, h, err
	}
	m, err := scrape(ctx, f.metricsAddr)
	if err != nil {
		return u, h, err
	}
	h, err = m.histogram(durable)
	return u, h, err
}

// usage reads what c, the database and this process have used.
func (f *fleet) usage(c *rig.Connector) (u [3]usage, err error) {
	for i, pid := range []int{c.Pid(), f.Stack.DatabasePid(), os.Getpid()} {
		if u[i], err = usageOf(pid); err != nil {
			return u, err
		}
	}
	return u, nil
}

// waitQuiet waits until every session has acknowledged what the service sent, and
// all of it is durable.
func (f *fleet) waitQuiet(ctx context.Context) error {
	err := f.WhatsApp.Wait(ctx, func() bool {
		for _, d := range f.devices {
			if f.WhatsApp.Device(d).Queued > 0 {
				return false
			}
		}
		return true
	})
	if err != nil {
		return fmt.Errorf("wait for acknowledgements: %w", err)
	}
	return f.waitDurable(ctx, f.holder)
}

// rate is how many changes a second there were.
func (l load) rate() float64 { return float64(l.changes) / l.took.Seconds() }

func (l load) text() string {
	return fmt.Sprintf("p50 %s, p99 %s; %.0f changes/s in %d pushes for %d changes; of one core: connector %.0f %%, TiDB %.0f %%, simulated service %.0f %%; memory of the connector %s before, %s after",
		l.durable.text(0.5), l.durable.text(0.99), l.rate(), l.durable.total, l.changes,
		l.share(l.connector), l.share(l.database), l.share(l.service), megabytes(l.before.resident), megabytes(l.connector.resident))
}

// share is how much of one core a process took, in percent.
func (l load) share(u usage) float64 { return 100 * u.cpu.Seconds() / l.took.Seconds() }
