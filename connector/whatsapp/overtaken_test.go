package whatsapp

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/types/events"
)

// slowTurn holds the first decryption back in its turn, and tells when somebody looks into the event buffer.
type slowTurn struct {
	store.AllSessionSpecificStores
	looks      atomic.Int32
	held, free chan struct{}
	once       atomic.Bool
}

func (s *slowTurn) GetBufferedEvent(ctx context.Context, hash [32]byte) (*store.BufferedEvent, error) {
	event, err := s.AllSessionSpecificStores.GetBufferedEvent(ctx, hash)
	s.looks.Add(1)
	return event, err
}

func (s *slowTurn) DoDecryptionTxn(ctx context.Context, fn func(context.Context) error) error {
	if !s.once.Swap(true) {
		close(s.held)
		<-s.free
	}
	return s.AllSessionSpecificStores.DoDecryptionTxn(ctx, fn)
}

// A message comes again while its first delivery, over a connection that has gone, is still being handled: before it
// is decrypted both find nothing in the event buffer, and the second must not be acknowledged for its old counter.
func TestDeliveredAgainWhileDecrypting(t *testing.T) {
	w := newWorld(t)
	c := w.open(w.linkedFile())
	guarded := c.device.Sessions.(*guardedStore)
	slow := &slowTurn{
		AllSessionSpecificStores: guarded.AllSessionSpecificStores, held: make(chan struct{}), free: make(chan struct{}),
	}
	guarded.AllSessionSpecificStores = slow
	handling, fail := make(chan struct{}), make(chan struct{})
	var failed atomic.Bool
	c.testMessage = func(evt *events.Message) error {
		if evt.Message.GetConversation() != "precious" || failed.Swap(true) {
			return nil
		}
		close(handling)
		<-fail
		return errors.New("inbox is broken")
	}
	c.connect(false)
	id := w.sendText(w.other, w.own.PN(), "precious")
	<-slow.held
	looks, device := slow.looks.Load(), c.jid()
	w.service.Faults().Cut(&device)
	w.wait("second delivery", func() bool { return slow.looks.Load() > looks })
	close(slow.free)
	<-handling
	c.awaitAcknowledged(id)
	if c.times("precious") == 0 {
		t.Error("acknowledged, and nobody has it")
	}
	close(fail)
	c.awaitMessage("precious")
	w.expectSound(c)
}

// What was handled to the end in between is known for that.
func TestDeliveredAgainAfterHandling(t *testing.T) {
	p := newParty(t, "628111")
	buffer, hash := p.device.EventBuffer, [32]byte{1}
	decrypted := func(context.Context) error {
		t.Error("decrypted again")
		return nil
	}
	for _, test := range []struct {
		name  string
		clear bool
		want  error
		reset int
	}{{"handled", true, whatsmeow.ErrEventAlreadyProcessed, 0}, {"being handled", false, context.Canceled, 1}} {
		if event, err := buffer.GetBufferedEvent(t.Context(), hash); event != nil || err != nil {
			t.Fatal(event, err)
		}
		if err := buffer.PutBufferedEvent(t.Context(), hash, []byte("text"), time.Now()); err != nil {
			t.Fatal(err)
		}
		if test.clear {
			if err := buffer.ClearBufferedEventPlaintext(t.Context(), hash); err != nil {
				t.Fatal(err)
			}
		}
		if err := buffer.DoDecryptionTxn(t.Context(), decrypted); !errors.Is(err, test.want) || p.resets != test.reset {
			t.Errorf("%s: %v, %d resets", test.name, err, p.resets)
		}
		hash[0]++
	}
}

// What is handled to the end over a connection that was abandoned in between comes again, whole: a part of it may not
// have been stored, such as a sender key.
func TestAbandonedConnectionForgetsNothing(t *testing.T) {
	p := newParty(t, "628111")
	buffer, hash := p.device.EventBuffer, [32]byte{1}
	if err := buffer.PutBufferedEvent(t.Context(), hash, []byte("text"), time.Now()); err != nil {
		t.Fatal(err)
	}
	g := buffer.(*guardedStore).guard
	ctx := g.connect(t.Context())
	g.abandon(ctx, "test")
	g.connect(t.Context())
	if err := buffer.ClearBufferedEventPlaintext(ctx, hash); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if event, err := buffer.GetBufferedEvent(t.Context(), hash); err != nil || event == nil || string(event.Plaintext) != "text" {
		t.Errorf("%+v, %v", event, err)
	}
}
