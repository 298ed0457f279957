package whatsapp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/petermattis/goid"
	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/types"
)

// guard stands between whatsmeow and its store.
//
// It remembers a storage error until the connection is a new one. As long as it does, nothing is acknowledged, since
// whatsmeow logs many storage errors and goes on (W2).
type guard struct {
	log   *slog.Logger
	reset func(reason string) // asks for a new connection; must not block

	turn       *turn
	linked     atomic.Bool                // the device is linked for good: its rows are kept from now on (W4)
	fault      atomic.Bool                // a storage error happened on this connection (W2)
	connection atomic.Pointer[connection] // the newest one; nil before the first
	looked     sync.Map                   // goroutine to the hash that it found nothing buffered for, see overtaken

	testWithout string // the rule that a test has switched off, such as "W1", to see what goes wrong without it
}

// errNotStored is what a decryption ends with after a storage error. whatsmeow neither acknowledges nor answers a
// message whose decryption was cancelled, so the error says that it was.
type errNotStored struct{ cause error }

func (e *errNotStored) Error() string { return "storage: " + e.cause.Error() }

// Unwrap returns the cause.
func (e *errNotStored) Unwrap() error { return e.cause }

// Is implements the interface of errors.Is.
func (e *errNotStored) Is(target error) bool { return target == context.Canceled }

var errFaulted = errors.New("an earlier error on this connection")

// connection is the context in which whatsmeow handles what the service sends over one connection. whatsmeow writes no
// acknowledgement in a context that has ended, so abandon makes it say so: at once, which closing the socket isn't,
// and wherever whatsmeow goes on after an error. It logs, for one, that it couldn't ask the phone for a message it has
// no copy of, and acknowledges it.
//
// What is still at work on a message of an earlier connection acknowledges over the newest: so it is the connection the
// message came over that is abandoned, which its context knows.
//
// Done stays open. The end of the context would make whatsmeow's reader close the socket, and the reader looks without
// a lock at what Disconnect takes away; run closes it in its own time.
type connection struct {
	context.Context
	abandoned atomic.Bool
}

// Err implements context.Context.
func (c *connection) Err() error {
	if c.abandoned.Load() {
		return context.Canceled
	}
	return c.Context.Err()
}

type connectionKey struct{}

// Value implements context.Context.
func (c *connection) Value(key any) any {
	if key == (connectionKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// connect begins a connection, and forgets what was wrong with the one before. Its context is for whatsmeow.
func (g *guard) connect(ctx context.Context) context.Context {
	c := &connection{Context: ctx}
	g.fault.Store(false) // first: a fault that is noted from here on asks for another connection
	g.connection.Store(c)
	return c
}

// abandon sees to it that nothing more is acknowledged of what came over ctx's connection, and asks for a new one, unless
// that was done already.
func (g *guard) abandon(ctx context.Context, reason string) {
	if ctx.Err() != nil {
		return
	}
	g.silence(ctx)
	g.reset(reason)
}

// silence abandons ctx's connection; the newest one if ctx, as a send's, has none.
func (g *guard) silence(ctx context.Context) {
	c, _ := ctx.Value(connectionKey{}).(*connection)
	if c == nil {
		c = g.connection.Load()
	}
	if c != nil {
		c.abandoned.Store(true)
	}
}

// install wraps a device's stores and its container. It has to run again once a new device was saved for the first
// time, since whatsmeow's container sets all of them then.
func (g *guard) install(device *store.Device, inner store.DeviceContainer) {
	device.Container = &guardedContainer{inner: inner, guard: g}
	if !device.Initialized {
		return
	}
	device.SetAllStores(&guardedStore{AllSessionSpecificStores: device.Sessions.(store.AllSessionSpecificStores), guard: g})
	device.LIDs = &guardedLIDs{LIDStore: device.LIDs, guard: g}
}

// check notes a storage error and returns it. The end of a context isn't one.
func (g *guard) check(ctx context.Context, op string, err error) error {
	if err == nil || ctx.Err() != nil || errors.Is(err, ErrRatchet) {
		return err
	}
	if g.testWithout == "W2" {
		return err
	}
	g.silence(ctx) // before anybody can see the fault, and take it for dealt with
	if !g.fault.Swap(true) {
		g.log.Error("storage error, connecting again so that nothing is acknowledged", "op", op, "error", scrub(err.Error()))
		g.reset("storage error")
	}
	return err
}

// guardedContainer keeps a linked device's rows when whatsmeow deletes them, which it does before it says so, and
// also for bans (W4). The device is dead in memory all the same. Before the device is linked, a failed pairing is
// allowed to clean up after itself.
type guardedContainer struct {
	inner store.DeviceContainer
	guard *guard
}

// PutDevice implements store.DeviceContainer.
func (c *guardedContainer) PutDevice(ctx context.Context, device *store.Device) error {
	first := !device.Initialized
	if err := c.inner.PutDevice(ctx, device); err != nil {
		return c.guard.check(ctx, "save device", err)
	}
	if first {
		c.guard.install(device, c.inner)
	}
	return nil
}

// DeleteDevice implements store.DeviceContainer.
func (c *guardedContainer) DeleteDevice(ctx context.Context, device *store.Device) error {
	if c.guard.linked.Load() && c.guard.testWithout != "W4" {
		return nil
	}
	return c.inner.DeleteDevice(ctx, device)
}

// guardedLIDs notes storage errors of the address map: without it whatsmeow would look for a Signal session under the
// wrong address, find none, and acknowledge the message.
type guardedLIDs struct {
	store.LIDStore
	guard *guard
}

// GetLIDForPN implements store.LIDStore.
func (l *guardedLIDs) GetLIDForPN(ctx context.Context, pn types.JID) (types.JID, error) {
	jid, err := l.LIDStore.GetLIDForPN(ctx, pn)
	return jid, l.guard.check(ctx, "read address map", err)
}

// GetPNForLID implements store.LIDStore.
func (l *guardedLIDs) GetPNForLID(ctx context.Context, lid types.JID) (types.JID, error) {
	jid, err := l.LIDStore.GetPNForLID(ctx, lid)
	return jid, l.guard.check(ctx, "read address map", err)
}

// PutLIDMapping implements store.LIDStore.
func (l *guardedLIDs) PutLIDMapping(ctx context.Context, lid, pn types.JID) error {
	return l.guard.check(ctx, "write address map", l.LIDStore.PutLIDMapping(ctx, lid, pn))
}

// decrypting marks the context of a decryption's transaction.
type decrypting struct{}

func isDecrypting(ctx context.Context) bool { return ctx.Value(decrypting{}) != nil }

// DoDecryptionTxn turns a storage error while decrypting into one that stops the acknowledgement (W2). Signal's own
// errors pass: they are answered with a retry receipt.
func (s *guardedStore) DoDecryptionTxn(ctx context.Context, decrypt func(context.Context) error) error {
	var overtaken, decryptErr error
	err := s.guard.turn.during(ctx, func() error {
		if overtaken = s.overtaken(ctx); overtaken != nil {
			return overtaken
		}
		return s.AllSessionSpecificStores.DoDecryptionTxn(ctx, func(ctx context.Context) error {
			decryptErr = decrypt(context.WithValue(ctx, decrypting{}, true))
			return decryptErr
		})
	})
	if err == nil || overtaken != nil {
		return err
	}
	if decryptErr == nil { // the transaction itself couldn't begin or end
		// Called for its mark: it sets fault, which is read below.
		_ = s.guard.check(ctx, "decryption transaction", err)
	}
	if s.guard.fault.Load() || decryptErr == nil && s.guard.testWithout != "W2" {
		return &errNotStored{err}
	}
	return err
}

var errOvertaken = errors.New("the message is being handled since an earlier connection")

// overtaken looks once more, in the decryption's turn, for what GetBufferedEvent had not found. The service delivers a
// message again over a new connection while the one before is still at it: the second delivery waits for the turn of
// the first, and would then find an old counter, which whatsmeow acknowledges although nothing may be stored yet.
func (s *guardedStore) overtaken(ctx context.Context) error {
	hash, looked := s.guard.looked.LoadAndDelete(goid.Get()) // whatsmeow has looked in this goroutine
	if !looked {
		return nil
	}
	event, err := s.bufferedEvent(ctx, hash.([32]byte))
	switch {
	case err != nil || event == nil:
		return err
	case event.Plaintext == nil: // handled to the end by now
		return whatsmeow.ErrEventAlreadyProcessed
	default:
		s.guard.abandon(ctx, "a message came again while it was being handled")
		return &errNotStored{errOvertaken}
	}
}

// GetBufferedEvent comes first in every decryption. After a storage error nothing more is decrypted on this
// connection, since whatsmeow may have gone on without what it couldn't read or write.
func (s *guardedStore) GetBufferedEvent(ctx context.Context, hash [32]byte) (*store.BufferedEvent, error) {
	if s.guard.fault.Load() {
		return nil, &errNotStored{errFaulted}
	}
	event, err := s.bufferedEvent(ctx, hash)
	if err == nil && event == nil {
		s.guard.looked.Store(goid.Get(), hash) // whatsmeow goes on to DoDecryptionTxn
	}
	return event, err
}

func (s *guardedStore) bufferedEvent(ctx context.Context, hash [32]byte) (*store.BufferedEvent, error) {
	event, err := s.AllSessionSpecificStores.GetBufferedEvent(ctx, hash)
	if err := s.guard.check(ctx, "read event buffer", err); err != nil {
		return nil, &errNotStored{fmt.Errorf("read event buffer: %w", err)}
	}
	return event, nil
}
