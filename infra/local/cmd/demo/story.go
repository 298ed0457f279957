package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"cloudsession/connector/control"
	"cloudsession/functions/api/apitest"
	"cloudsession/infra/local/rig"
)

const (
	session   = "personal"
	ownNumber = "628110000001"
	peer      = "628110000002"
)

// step is one part of the story. What it returns is printed below its name.
type step struct {
	what string
	do   func(context.Context) (string, error)
}

// story is the whole of it; the processes' logs go to log.
func (d *demo) story(log io.Writer) []step {
	return []step{
		{"TiDB, queue, API and the simulated service start", func(ctx context.Context) (string, error) { return d.start(ctx, log) }},
		{"connector A starts", d.startA},
		{"the phone scans A's QR code", d.pair},
		{"A sends, the peer decrypts; the peer sends, A receives", d.talk},
		{"GET /cloud/sessions", d.list},
		{"GET /cloud/sessions/personal/status", d.status},
		{"POST /cloud/sessions/personal/sync", d.sync},
		{"connector B starts on an empty disk", d.startB},
		{"from here on both sides write ten texts a second", d.startTraffic},
		{`POST …/restore {"connector":"b"}: A hands over to B`, d.handOver},
		{"both sides write on", d.writeOn},
		{"B dies: kill -9, disk erased; A takes over by itself", d.failOver},
		{"both sides write on", d.writeOn},
		{"A dies too: no connector and no disk is left", d.loseA},
		{"connector C starts on an empty disk", d.startC},
		{"POST /cloud/sessions/personal/restore", d.restore},
		{"both sides write on, then stop; all of it arrives", d.stopTraffic},
		{"nothing lost, nothing shown twice, no key used twice", d.account},
		{"DELETE /cloud/sessions/personal", d.delete},
		{"C stops cleanly", d.stopC},
	}
}

func (d *demo) start(ctx context.Context, log io.Writer) (string, error) {
	checker, err := apitest.New()
	if err != nil {
		return "", err
	}
	d.rig, err = rig.Start(ctx, rig.Options{
		Dir: filepath.Join(d.dir, "stack"), Out: log, Built: true, Env: rig.Unhurried, Transport: checker.Transport,
	})
	if err != nil {
		return "", err
	}
	if d.owner, err = d.rig.WhatsApp.NewPhone(ownNumber, "Owner"); err != nil {
		return "", err
	}
	d.peer, err = d.rig.WhatsApp.NewPhone(peer, "Peer")
	return "API on " + d.rig.Stack.APIURL(), err
}

func (d *demo) startA(ctx context.Context) (_ string, err error) {
	d.a, err = d.startConnector(ctx, "a")
	return "", err
}

func (d *demo) startB(ctx context.Context) (_ string, err error) {
	d.b, err = d.startConnector(ctx, "b")
	return "", err
}

func (d *demo) startC(ctx context.Context) (string, error) {
	c, err := d.startConnector(ctx, "c")
	if err != nil {
		return "", err
	}
	d.c.Store(c)
	return "", nil
}

func (d *demo) startConnector(ctx context.Context, id string) (*rig.Connector, error) {
	return d.rig.StartConnector(ctx, id, filepath.Join(d.dir, id))
}

func (d *demo) pair(ctx context.Context) (string, error) {
	if err := d.a.Pair(ctx, session, d.owner); err != nil {
		return "", err
	}
	devices := d.owner.Devices()
	if len(devices) != 1 {
		return "", fmt.Errorf("the phone has %d linked devices instead of one", len(devices))
	}
	d.device = devices[0]
	return "", nil
}

// talk sends one text each way and waits for both to be read.
func (d *demo) talk(ctx context.Context) (string, error) {
	const out, in = "hello from the session", "hello from the peer"
	if _, err := d.a.Send(ctx, session, control.SendRequest{To: "+" + peer, Text: out}); err != nil {
		return "", fmt.Errorf("send: %w", err)
	}
	if _, err := d.peer.WaitText(ctx, out); err != nil {
		return "", fmt.Errorf("peer receives: %w", err)
	}
	if _, err := d.peer.SendText(ctx, d.owner.PN(), in); err != nil {
		return "", fmt.Errorf("peer sends: %w", err)
	}
	_, err := d.a.WaitText(ctx, session, in)
	return "", err
}

func (d *demo) startTraffic(ctx context.Context) (string, error) {
	d.traffic = d.rig.StartTraffic(ctx, rig.TrafficOptions{
		Session: session, Owner: d.owner, Peer: d.peer, Every: 100 * time.Millisecond,
		Connectors: d.connectors,
	})
	return d.writeOn(ctx)
}

// connectors are those that the session can be on while there is traffic.
func (d *demo) connectors() []*rig.Connector {
	if c := d.c.Load(); c != nil {
		return []*rig.Connector{c}
	}
	return []*rig.Connector{d.a, d.b}
}

// writeOn waits until ten more texts have gone each way.
func (d *demo) writeOn(ctx context.Context) (string, error) {
	sent, received := len(d.traffic.Sent()), len(d.traffic.Received())
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for len(d.traffic.Sent()) < sent+10 || len(d.traffic.Received()) < received+10 {
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-tick.C:
		}
	}
	return "", nil
}

func (d *demo) handOver(ctx context.Context) (string, error) {
	gap := d.rig.WatchGap(ctx, d.device)
	said, err := d.askRestore(ctx, "b", map[string]string{"connector": "b"})
	if err != nil {
		return "", err
	}
	took, err := gap()
	return fmt.Sprintf("%s; without a socket for %s", said, took.Round(time.Millisecond)), err
}

func (d *demo) failOver(ctx context.Context) (string, error) {
	gap := d.rig.WatchGap(ctx, d.device)
	if err := lose(d.b); err != nil {
		return "", err
	}
	took, err := gap()
	if err != nil {
		return "", err
	}
	_, err = d.connectedOn(ctx, "a")
	return fmt.Sprintf("without a socket for %s, of which B's lease was 10 s", took.Round(time.Millisecond)), err
}

// lose ends a connector without a chance to write anything, and its disk with it.
func lose(c *rig.Connector) error { return errors.Join(c.Kill9(), os.RemoveAll(c.DataDir())) }

func (d *demo) loseA(ctx context.Context) (string, error) {
	d.gap = d.rig.WatchGap(ctx, d.device)
	return "", lose(d.a)
}

// restore asks for the session back. Any connector may do it: only C is there.
func (d *demo) restore(ctx context.Context) (string, error) {
	said, err := d.askRestore(ctx, "c", nil)
	if err != nil {
		return "", err
	}
	took, err := d.gap()
	return fmt.Sprintf("%s; without a socket for %s, of which A's lease was 10 s", said, took.Round(time.Millisecond)), err
}

func (d *demo) stopTraffic(ctx context.Context) (string, error) {
	if _, err := d.writeOn(ctx); err != nil {
		return "", err
	}
	if err := d.traffic.Stop(); err != nil {
		return "", err
	}
	err := d.traffic.Account(ctx, d.c.Load())
	return fmt.Sprintf("%d texts from the peer, %d to it", len(d.traffic.Received()), len(d.traffic.Sent())), err
}

// account asks the simulated service what it saw: it knows every copy of every
// message and every key that encrypted one.
func (d *demo) account(ctx context.Context) (string, error) {
	if err := d.rig.WhatsApp.WaitNothingLost(ctx); err != nil {
		return "", fmt.Errorf("%d messages were never shown by a phone: %w", len(d.rig.WhatsApp.Lost()), err)
	}
	c := d.rig.WhatsApp.Counters()
	if c.ShownTwice > 0 || c.KeysReused > 0 || c.OldCounter > 0 || c.MaxSocketsPerDevice > 1 {
		return "", fmt.Errorf("shown twice %d, keys reused %d, dropped as old %d, sockets of one device at once %d",
			c.ShownTwice, c.KeysReused, c.OldCounter, c.MaxSocketsPerDevice)
	}
	return fmt.Sprintf("%d messages accepted by the service; %d answered with a request to repeat; never two sockets", c.Accepted, c.RetryReceipts), nil
}

func (d *demo) stopC(context.Context) (string, error) { return "", d.c.Load().Stop(rig.StopTime) }
