package whatsapp

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/types"

	"cloudsession/connector/watest"
)

// faultyStore fails one operation a number of times.
type faultyStore struct {
	store.AllSessionSpecificStores
	op    string
	times atomic.Int32
	hits  atomic.Int32
}

var errDisk = errors.New("disk I/O error")

func (s *faultyStore) fails(op string) bool {
	if op != s.op || s.times.Add(-1) < 0 {
		return false
	}
	s.hits.Add(1)
	return true
}

func (s *faultyStore) GetSession(ctx context.Context, address string) ([]byte, error) {
	if s.fails("GetSession") {
		return nil, errDisk
	}
	return s.AllSessionSpecificStores.GetSession(ctx, address)
}

func (s *faultyStore) PutSession(ctx context.Context, address string, session []byte) error {
	if s.fails("PutSession") {
		return errDisk
	}
	return s.AllSessionSpecificStores.PutSession(ctx, address, session)
}

func (s *faultyStore) HasSession(ctx context.Context, address string) (bool, error) {
	if s.fails("HasSession") {
		return false, errDisk
	}
	return s.AllSessionSpecificStores.HasSession(ctx, address)
}

func (s *faultyStore) PutManySessions(ctx context.Context, sessions map[string][]byte) error {
	if s.fails("PutManySessions") {
		return errDisk
	}
	return s.AllSessionSpecificStores.PutManySessions(ctx, sessions)
}

func (s *faultyStore) GetOutgoingEvent(ctx context.Context, chat, altChat types.JID, id types.MessageID) (string, []byte, error) {
	if s.fails("GetOutgoingEvent") {
		return "", nil, errDisk
	}
	return s.AllSessionSpecificStores.GetOutgoingEvent(ctx, chat, altChat, id)
}

func (s *faultyStore) RemovePreKey(ctx context.Context, id uint32) error {
	if s.fails("RemovePreKey") {
		return errDisk
	}
	return s.AllSessionSpecificStores.RemovePreKey(ctx, id)
}

func (s *faultyStore) GetBufferedEvent(ctx context.Context, hash [32]byte) (*store.BufferedEvent, error) {
	if s.fails("GetBufferedEvent") {
		return nil, errDisk
	}
	return s.AllSessionSpecificStores.GetBufferedEvent(ctx, hash)
}

func (s *faultyStore) PutBufferedEvent(ctx context.Context, hash [32]byte, plaintext []byte, at time.Time) error {
	if s.fails("PutBufferedEvent") {
		return errDisk
	}
	return s.AllSessionSpecificStores.PutBufferedEvent(ctx, hash, plaintext, at)
}

func (s *faultyStore) PutSenderKey(ctx context.Context, group, user string, key []byte) error {
	if s.fails("PutSenderKey") {
		return errDisk
	}
	return s.AllSessionSpecificStores.PutSenderKey(ctx, group, user, key)
}

func (s *faultyStore) MigratePNToLID(ctx context.Context, pn, lid types.JID) error {
	if s.fails("MigratePNToLID") {
		return errDisk
	}
	return s.AllSessionSpecificStores.MigratePNToLID(ctx, pn, lid)
}

func (s *faultyStore) DoDecryptionTxn(ctx context.Context, fn func(context.Context) error) error {
	err := s.AllSessionSpecificStores.DoDecryptionTxn(ctx, func(ctx context.Context) error {
		if err := fn(ctx); err != nil {
			return err
		}
		if s.fails("commit") {
			return errDisk
		}
		return nil
	})
	return err
}

// A storage error while a message is decrypted must neither be acknowledged nor answered: the message comes again.
func TestStorageErrorWhileDecrypting(t *testing.T) {
	for _, op := range []string{
		"GetSession", "PutSession", "RemovePreKey", "GetBufferedEvent", "PutBufferedEvent", "commit", "PutSenderKey",
	} {
		t.Run(op, func(t *testing.T) {
			w := newWorld(t)
			paired := w.pairQR()
			group, err := w.other.CreateGroup(testContext(t), w.own.PN())
			if err != nil {
				t.Fatal(err)
			}
			paired.close()
			c := w.open(paired.path)
			faulty := c.failing(op, 1)
			c.connect(false)
			w.sendText(w.other, group, "hard to read")
			c.awaitMessage("hard to read")
			if faulty.hits.Load() != 1 {
				t.Fatalf("the fault struck %d times", faulty.hits.Load())
			}
			if n := c.times("hard to read"); n != 1 {
				t.Errorf("stored %d times", n)
			}
			if n := w.service.Counters().RetryReceipts; n != 0 {
				t.Errorf("%d retry receipts for an error of our own", n)
			}
			if info := w.service.Device(c.jid()); info.Logins < 3 {
				t.Errorf("%d logins: the connection wasn't renewed", info.Logins)
			}
			w.expectSound(c)
		})
	}
}

// failing puts a store that fails an operation some times under a session's guard.
func (c *client) failing(op string, times int32) *faultyStore {
	guarded := c.device.Sessions.(*guardedStore)
	faulty := &faultyStore{AllSessionSpecificStores: guarded.AllSessionSpecificStores, op: op}
	faulty.times.Store(times)
	guarded.AllSessionSpecificStores = faulty
	return faulty
}

// A storage error while a retry request is answered must not be acknowledged either: the recipient has nothing of the
// message yet, and whatsmeow acknowledges the request whatever happened.
func TestStorageErrorWhileAnswering(t *testing.T) {
	for _, test := range []struct {
		op    string
		times int32
	}{
		{"GetOutgoingEvent", 1},
		{"HasSession", 2}, // whatsmeow takes the first for an answer, and asks again
		{"GetSession", 1},
		{"PutManySessions", 1},
	} {
		t.Run(test.op, func(t *testing.T) {
			w := newWorld(t)
			c := w.pairQR()
			c.send(w.other.PN(), "hello")
			w.waitText(w.other, "hello")
			device := c.jid()
			rule := w.service.Faults().Drop(&device, watest.ToDevice, func(n *waBinary.Node) bool {
				return n.Tag == "receipt" && n.Attrs["type"] == string(types.ReceiptTypeRetry)
			})
			w.other.ForgetSessions()
			c.send(w.other.PN(), "precious")
			w.wait("the request to repeat it", func() bool { return rule.Hits() > 0 })
			c.close()
			rule.Remove()

			again := w.open(c.path)
			faulty := again.failing(test.op, test.times)
			again.connect(false)
			w.waitText(w.other, "precious")
			if faulty.hits.Load() == 0 {
				t.Error("the fault never struck")
			}
			w.expectSound(again)
		})
	}
}

// The service has no copy of a message for this device, and the phone can't be asked for it: whatsmeow acknowledges it
// all the same, and nobody would ask again.
func TestStorageErrorWhileAskingThePhone(t *testing.T) {
	for _, op := range []string{"HasSession", "GetSession", "PutManySessions"} {
		t.Run(op, func(t *testing.T) {
			w := newWorld(t)
			c := w.open(w.linkedFile())
			faulty := c.failing(op, 0)
			c.connect(false)
			w.sendText(w.own, w.other.PN(), "from the phone") // which is in touch with the session then
			c.awaitMessage("from the phone")
			device := c.jid()
			w.service.Faults().Withhold(&device)
			w.sendText(w.other, w.own.PN(), "asked for")
			c.awaitMessage("asked for")

			faulty.times.Store(1)
			w.sendText(w.other, w.own.PN(), "precious")
			c.awaitMessage("precious")
			if faulty.hits.Load() != 1 {
				t.Errorf("the fault struck %d times", faulty.hits.Load())
			}
			w.expectSound(c)
		})
	}
}

// Asked to repeat a message that is not in the retry buffer, which a sender may
// be at any time, a session stays connected: nothing has failed.
func TestRetryBufferHasNoSuchMessage(t *testing.T) {
	c := newWorld(t).pairQR()
	store := c.device.EventBuffer
	_, _, err := store.GetOutgoingEvent(testContext(t), c.jid(), c.jid(), "3EB0000000000000000000")
	if !errors.Is(err, sql.ErrNoRows) {
		t.Fatalf("a message that was never sent: %v, want sql.ErrNoRows", err)
	}
	if guarded := store.(*guardedStore); guarded.guard.fault.Load() {
		t.Error("it counts as a storage error")
	}
}

// The rows of a device that was never linked may go.
func TestFailedPairingCleansUp(t *testing.T) {
	g := &guard{}
	inner := &countingContainer{}
	c := &guardedContainer{inner: inner, guard: g}
	if err := c.DeleteDevice(t.Context(), &store.Device{}); err != nil || inner.deleted != 1 {
		t.Errorf("before linking: %v, deleted %d times", err, inner.deleted)
	}
	g.linked.Store(true)
	if err := c.DeleteDevice(t.Context(), &store.Device{}); err != nil || inner.deleted != 1 {
		t.Errorf("after linking: %v, deleted %d times", err, inner.deleted)
	}
}

type countingContainer struct{ deleted int }

func (c *countingContainer) PutDevice(context.Context, *store.Device) error { return nil }

func (c *countingContainer) DeleteDevice(context.Context, *store.Device) error {
	c.deleted++
	return nil
}

// From the error on nothing is written in the connection's context; its socket is left to whoever looks after it.
func TestStorageErrorSilencesTheConnection(t *testing.T) {
	resets := 0
	g := &guard{log: slog.New(slog.DiscardHandler), reset: func(string) { resets++ }}
	before := g.connect(t.Context())
	for range 2 {
		if err := g.check(t.Context(), "read", errDisk); !errors.Is(err, errDisk) {
			t.Error(err)
		}
	}
	if !errors.Is(before.Err(), context.Canceled) || resets != 1 {
		t.Errorf("the connection's context: %v, %d resets", before.Err(), resets)
	}
	select {
	case <-before.Done():
		t.Error("the context has ended, and takes the socket with it")
	default:
	}
	if after := g.connect(t.Context()); after.Err() != nil || g.fault.Load() || before.Err() == nil {
		t.Errorf("the next connection: %v, fault %v; the one before: %v", after.Err(), g.fault.Load(), before.Err())
	}
}

// It is the connection that the failed work belongs to which is silenced, and a connection only once.
func TestSilencesItsOwnConnection(t *testing.T) {
	resets := 0
	g := &guard{log: slog.New(slog.DiscardHandler), reset: func(string) { resets++ }}
	first := g.connect(t.Context())
	second := g.connect(t.Context())
	if err := g.check(context.WithValue(first, decrypting{}, true), "read", errDisk); !errors.Is(err, errDisk) {
		t.Error(err)
	}
	if first.Err() == nil || second.Err() != nil || resets != 1 {
		t.Errorf("first: %v, second: %v, %d resets", first.Err(), second.Err(), resets)
	}
	g.abandon(first, "again")
	if second.Err() != nil || resets != 1 {
		t.Errorf("second: %v, %d resets after an error on a connection that was abandoned", second.Err(), resets)
	}
}

func TestEndOfContextIsNoStorageError(t *testing.T) {
	g := &guard{log: nil, reset: func(string) { t.Error("reset") }}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := g.check(ctx, "read", context.Canceled); !errors.Is(err, context.Canceled) || g.fault.Load() {
		t.Errorf("%v, fault %v", err, g.fault.Load())
	}
	if err := g.check(t.Context(), "read", nil); err != nil || g.fault.Load() {
		t.Errorf("%v, fault %v", err, g.fault.Load())
	}
}
