package rig

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"cloudsession/connector/control"
	"cloudsession/connector/watest"
)

// TrafficOptions says who writes to whom.
type TrafficOptions struct {
	Session     string
	Owner, Peer *watest.Phone // the session's phone, and whom the session talks to
	Every       time.Duration // between two texts in each direction
	// Again is the pause before the application asks all connectors once more.
	// Default: 20 ms.
	Again time.Duration
	// Connectors are those that may hold the session, in the order to ask them.
	Connectors func() []*Connector
}

// Traffic is texts that go both ways while connectors come and go: the peer
// writes to the session, and an application writes to the peer through whichever
// connector holds the session, under one key a text until it is acknowledged.
type Traffic struct {
	o       TrafficOptions
	ending  chan struct{}
	writers sync.WaitGroup

	mu       sync.Mutex
	sent     []string // by the application, acknowledged
	received []string // by the peer, to the session
	err      error
}

// StartTraffic starts writing. ctx bounds everything, the repetitions included.
func (r *Rig) StartTraffic(ctx context.Context, o TrafficOptions) *Traffic {
	t := &Traffic{o: o, ending: make(chan struct{})}
	t.writers.Go(func() { t.every(ctx, t.peerWrites) })
	t.writers.Go(func() { t.every(ctx, t.sessionWrites) })
	return t
}

// Stop writes nothing new, and returns once everything begun is acknowledged.
func (t *Traffic) Stop() error {
	close(t.ending)
	t.writers.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// Sent are the application's texts, Received the peer's.
func (t *Traffic) Sent() []string { return t.list(&t.sent) }

// Received are the texts the peer sent to the session.
func (t *Traffic) Received() []string { return t.list(&t.received) }

func (t *Traffic) list(of *[]string) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]string(nil), *of...)
}

func (t *Traffic) every(ctx context.Context, write func(context.Context, int) error) {
	tick := time.NewTicker(t.o.Every)
	defer tick.Stop()
	for n := 1; ; n++ {
		if err := write(ctx, n); err != nil {
			t.mu.Lock()
			t.err = errors.Join(t.err, err)
			t.mu.Unlock()
			return
		}
		select {
		case <-t.ending:
			return
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (t *Traffic) peerWrites(ctx context.Context, n int) error {
	text := fmt.Sprintf("peer, text %d", n)
	if _, err := t.o.Peer.SendText(ctx, t.o.Owner.PN(), text); err != nil {
		return fmt.Errorf("peer sends: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.received = append(t.received, text)
	return nil
}

// patience is how long the application waits for one connector's answer before
// it asks the next one. Refusals come at once; only silence takes this long.
const patience = 2 * time.Second

func (t *Traffic) sessionWrites(ctx context.Context, n int) error {
	text := fmt.Sprintf("session, text %d", n)
	request := control.SendRequest{To: t.o.Peer.PN().String(), Text: text, Key: fmt.Sprintf("traffic-%d", n)}
	for {
		for _, c := range t.o.Connectors() {
			try, cancel := context.WithTimeout(ctx, patience)
			_, err := c.Send(try, t.o.Session, request)
			cancel()
			if err == nil {
				t.mu.Lock()
				t.sent = append(t.sent, text)
				t.mu.Unlock()
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("session sends: %w", ctx.Err())
		case <-time.After(cmp.Or(t.o.Again, 20*time.Millisecond)): // nobody holds the session at the moment
		}
	}
}

// Count is what became of texts.
type Count struct {
	Texts int // in both directions
	Lost  int // never shown to whom they were for
	Twice int // shown more often than once, each such text counted once
}

// Account waits until everything has arrived on both sides, and checks that
// nothing was shown twice: what the peer wrote, by c, which holds the session
// now; what the application wrote, by the peer's phone.
func (t *Traffic) Account(ctx context.Context, c *Connector) error {
	_, wrong, err := t.account(ctx, c)
	if err == nil && len(wrong) > 0 {
		err = errors.New(strings.Join(wrong, "; "))
	}
	return err
}

// Count is Account for whoever goes on in any case: what has not arrived when
// ctx ends is lost. An error means that a side could not be asked; askable bounds
// that.
func (t *Traffic) Count(ctx, askable context.Context, c *Connector) (Count, error) {
	n, _, err := t.account(ctx, c)
	if err == nil || ctx.Err() == nil {
		return n, err
	}
	n, _, err = t.tally(askable, c)
	return n, err
}

func (t *Traffic) account(ctx context.Context, c *Connector) (Count, []string, error) {
	missing := map[string]bool{}
	for _, text := range t.Received() {
		missing[text] = true
	}
	all := errors.New("all are there")
	err := c.Messages(ctx, t.o.Session, 0, true, func(m control.Message) error {
		if delete(missing, m.Text); len(missing) == 0 {
			return all
		}
		return nil
	})
	if !errors.Is(err, all) {
		return Count{}, nil, fmt.Errorf("%d texts never reached the application: %w", len(missing), errors.Join(err, context.Cause(ctx)))
	}
	for _, text := range t.Sent() {
		if _, err := t.o.Peer.WaitText(ctx, text); err != nil {
			return Count{}, nil, fmt.Errorf("%q never reached the peer: %w", text, err)
		}
	}
	return t.tally(ctx, c)
}

// tally looks at both sides as they are now. wrong names the texts that were not
// shown exactly once.
func (t *Traffic) tally(ctx context.Context, c *Connector) (n Count, wrong []string, err error) {
	byApplication, byPeer := map[string]int{}, map[string]int{}
	err = c.Messages(ctx, t.o.Session, 0, false, func(m control.Message) error {
		byApplication[m.Text]++
		return nil
	})
	if err != nil {
		return n, nil, err
	}
	for _, m := range t.o.Peer.Messages() {
		byPeer[m.Text]++
	}
	for _, side := range []struct {
		texts []string
		shown map[string]int
		who   string
	}{{t.Received(), byApplication, "the application"}, {t.Sent(), byPeer, "the peer"}} {
		for _, text := range side.texts {
			n.Texts++
			times := side.shown[text]
			switch {
			case times == 0:
				n.Lost++
			case times > 1:
				n.Twice++
			}
			if times != 1 {
				wrong = append(wrong, fmt.Sprintf("%q shown %d times by %s", text, times, side.who))
			}
		}
	}
	return n, wrong, nil
}
