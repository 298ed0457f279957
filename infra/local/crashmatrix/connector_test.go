package crashmatrix_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"cloudsession/connector/baileys"
	"cloudsession/connector/control"
	"cloudsession/connector/manager"
	"cloudsession/connector/ownership"
	"cloudsession/connector/replicate"
	"cloudsession/connector/watest"
	"cloudsession/connector/whatsapp"
	"cloudsession/infra/local/faultproxy"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/command"
	"cloudsession/shared/envelope"
)

// connector is what the program `connector run` is made of, without its process.
type connector struct {
	s       *scene
	id, dir string
	link    *link             // nil: straight to the engine
	phone   *faultproxy.Proxy // its way to the service
	lock    *ownership.Dir
	store   *cloudstore.Store
	lease   *ownership.Lease
	rep     *replicate.Replicator
	manager *manager.Manager

	stops   []func()
	running sync.WaitGroup
	gone    bool
}

func port(t testing.TB, addr string) int {
	t.Helper()
	_, text, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

var keyring = sync.OnceValues(func() (*envelope.Keyring, error) {
	return envelope.NewKeyring("the crash matrix's own secret, long enough for anybody")
})

// room is how many sessions a connector has room for. One with room for none says
// in its row that it has no limit, and so learns only as it opens one that it is full.
const room = 10

// start starts a connector over a data directory; l may be nil.
func (s *scene) start(id, dir string, l *link) *connector {
	s.t.Helper()
	c := &connector{s: s, id: id, dir: dir, link: l}
	if err := c.begin(); err != nil {
		s.t.Fatalf("start connector %s: %v", id, err)
	}
	s.connectors = append(s.connectors, c)
	return c
}

func (c *connector) begin() (err error) {
	ctx, cancel := context.WithTimeout(c.s.t.Context(), patience)
	defer cancel()
	config := c.s.w.config
	if c.phone, err = faultproxy.Start(c.s.service); err != nil {
		return err
	}
	if c.link != nil {
		config = c.link.config
		c.link.cutAll = c.cutLinks
	}
	keys, err := keyring()
	if err != nil {
		return err
	}
	if c.lock, err = ownership.OpenDir(c.dir); err != nil {
		return err
	}
	if c.store, err = cloudstore.Open(config); err != nil {
		return err
	}
	queue, err := command.NewSQS(command.SQSConfig{Endpoint: c.s.w.queue})
	if err != nil {
		return err
	}
	log := c.s.log.With("connector", c.id)
	// The lease has a way of its own: renewing goes by the clock, and a scene in
	// which nothing else is to happen must not lose it on a slow machine.
	c.lease, err = ownership.Register(ctx, ownership.Options{
		Store: c.s.w.store, Dir: c.lock, Log: log, Connector: cloudstore.Connector{ID: c.id, Version: "test", Capacity: room},
		Load: func() cloudstore.Load { return c.manager.Load() },
	})
	if err != nil {
		return err
	}
	// Pushes come soon, and the times that only people look at by a sync alone:
	// what is sent to TiDB depends on the operation, not on the clock.
	o := replicate.Options{Credentials: baileys.Credentials, Log: log, Coalesce: 5 * time.Millisecond, TouchEvery: time.Hour, CopyEvery: time.Hour}
	if c.s.tune != nil {
		c.s.tune(&o)
	}
	c.rep = replicate.New(c.store, keys, o)
	c.manager = manager.New(manager.Options{
		DataDir: c.dir, Store: c.store, Keys: keys, Lease: c.lease, Replicator: c.rep,
		Queue: queue, QueueName: command.QueueName("matrix", c.id), Capacity: c.s.capacity,
		Endpoint: whatsapp.Endpoint{Addr: c.phone.Addr(), RootKey: watest.TestRootKey}, Log: log,
		ProtectTime: time.Hour, // a slow machine is no outage
	})
	c.background(c.keepLease)
	return nil
}

// background runs f until the connector crashes.
func (c *connector) background(f func(ctx context.Context)) {
	ctx, cancel := context.WithCancel(c.s.t.Context())
	c.stops = append(c.stops, cancel)
	c.running.Go(func() { f(ctx) })
}

func (c *connector) keepLease(ctx context.Context) {
	tick := time.NewTicker(ownership.RenewEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := c.lease.Renew(ctx); err != nil && ctx.Err() == nil {
			c.s.log.Info("lease not renewed", "connector", c.id, "error", err)
		}
	}
}

// run lets the connector do by itself what it does by itself.
func (c *connector) run() {
	c.background(func(ctx context.Context) {
		if err := c.manager.Run(ctx); err != nil && ctx.Err() == nil {
			c.s.t.Errorf("connector %s: run: %v", c.id, err)
		}
	})
}

func (c *connector) cutLinks() {
	if c.link != nil {
		c.link.cut()
	}
	c.phone.Set(faultproxy.Fault{Cut: true})
}

// crash ends the connector as if its process had been killed: no link carries
// anything any more, its memory is given up, and its files stay. unless it has
// crashed before.
func (c *connector) crash(waits ...func()) {
	if c.gone {
		return
	}
	c.gone = true
	c.cutLinks()
	_ = c.store.Close() // without a link of its own this is the cut
	for _, stop := range c.stops {
		stop()
	}
	_ = c.manager.Abandon() // it can't push, and says so
	for _, wait := range waits {
		wait()
	}
	c.rep.Close()
	c.running.Wait()
	if err := errors.Join(c.lock.Close(), c.phone.Close()); err != nil {
		c.s.t.Errorf("connector %s: %v", c.id, err)
	}
}

// pair links the session to the scene's phone. One that is linked is loaded.
func (c *connector) pair(ctx context.Context) error {
	var last control.PairEvent
	var scan error
	err := c.manager.Local().Pair(ctx, c.s.id, control.PairRequest{}, func(e control.PairEvent) {
		last = e
		if e.Kind == "qr" {
			_, scan = c.s.own.ScanQR(ctx, e.QR)
		}
	})
	switch {
	case errors.Is(err, manager.ErrPaired):
		return nil
	case err != nil:
		return errors.Join(err, scan)
	case last.Kind != "paired" && last.Kind != "loaded":
		return fmt.Errorf("pairing ended with %q", last.Kind)
	}
	return nil
}

func (c *connector) open(ctx context.Context) error {
	_, err := c.manager.Local().Open(ctx, c.s.id)
	return err
}

func (c *connector) sync(ctx context.Context) error { return c.manager.Sync(ctx, c.s.id) }

func (c *connector) send(ctx context.Context, text, key string) error {
	_, err := c.manager.Local().Send(ctx, c.s.id, control.SendRequest{To: c.s.other.PN().String(), Text: text, Key: key})
	return err
}

// session is what the connector says of the session.
func (c *connector) session() control.Session {
	for _, s := range c.manager.Local().Sessions() {
		if s.SessionID == c.s.id {
			return s
		}
	}
	return control.Session{}
}

func (c *connector) live() bool { return whatsapp.State(c.session().State).Live() }

// messages returns the session's inbox.
func (c *connector) messages(ctx context.Context) (list []control.Message, err error) {
	err = c.manager.Local().Messages(ctx, c.s.id, 0, false, func(m control.Message) error {
		list = append(list, m)
		return nil
	})
	return list, err
}

// has tells whether the inbox holds a text.
func (c *connector) has(text string) bool {
	list, err := c.messages(c.s.t.Context())
	for _, m := range list {
		if err == nil && m.Text == text {
			return true
		}
	}
	return false
}

// must fails the test on an error.
func (s *scene) must(what string, err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatalf("%s: %v", what, err)
	}
}

// wait polls until a condition holds.
func (s *scene) wait(what string, condition func() bool) {
	s.t.Helper()
	deadline := time.Now().Add(s.patience)
	for !condition() {
		if time.Now().After(deadline) {
			s.t.Fatalf("waited in vain: %s", what)
		}
		select {
		case <-s.t.Context().Done():
			s.t.Fatalf("waited in vain: %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// until repeats f until it returns nil.
func (s *scene) until(what string, f func(ctx context.Context) error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), s.patience)
	defer cancel()
	var last error
	for {
		err := f(ctx)
		if err == nil {
			return
		}
		if ctx.Err() == nil {
			last = err // not that its time is over
		}
		select {
		case <-ctx.Done():
			s.t.Fatalf("%s: %v", what, last)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// logger writes to the test's log if it fails.
func logger(b *logBuffer) *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
