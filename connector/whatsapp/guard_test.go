package whatsapp

import (
	"context"
	"database/sql"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/types"
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
			guarded := c.device.Sessions.(*guardedStore)
			faulty := &faultyStore{AllSessionSpecificStores: guarded.AllSessionSpecificStores, op: op}
			faulty.times.Store(1)
			guarded.AllSessionSpecificStores = faulty
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
