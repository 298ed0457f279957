package whatsapp

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/types/events"
)

// cloud stands for TiDB: what waits for it is answered as the test says.
type cloud struct {
	asked   chan struct{}
	answers chan error
}

func newCloud() *cloud { return &cloud{make(chan struct{}, 100), make(chan error)} }

func (c *cloud) durable(ctx context.Context) error {
	c.asked <- struct{}{}
	select {
	case err := <-c.answers:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *cloud) config(cfg *Config) { cfg.Durable = c.durable }

// acknowledged tells whether the service has the session's receipt for a message.
func (c *client) acknowledged(id types.MessageID) bool {
	for _, m := range c.w.service.Copies(c.jid()) {
		if m.ID == id {
			return m.Confirmed
		}
	}
	return false
}

func (c *client) awaitAcknowledged(id types.MessageID) {
	c.t.Helper()
	c.w.wait("acknowledgement", func() bool { return c.acknowledged(id) })
}

// reopened is a session that was linked without a cloud, opened again with one.
func (w *world) reopened(change ...func(*Config)) *client {
	w.t.Helper()
	paired := w.pairQR()
	paired.close()
	c := w.open(paired.path, change...)
	c.connect(false)
	return c
}

func TestAcknowledgedOnceDurable(t *testing.T) {
	w := newWorld(t)
	cloud := newCloud()
	c := w.reopened(cloud.config)
	id := w.sendText(w.other, w.own.PN(), "precious")
	<-cloud.asked
	c.awaitMessage("precious") // the application needn't wait
	if c.acknowledged(id) {
		t.Error("acknowledged before it was durable")
	}
	cloud.answers <- nil
	c.awaitAcknowledged(id)
	w.expectSound(c)
}

// The application has the message before TiDB: that is as good.
func TestAcknowledgedOnceDelivered(t *testing.T) {
	w := newWorld(t)
	cloud := newCloud()
	c := w.reopened(cloud.config)
	id := w.sendText(w.other, w.own.PN(), "precious")
	<-cloud.asked
	m := c.awaitMessage("precious")
	if c.acknowledged(id) {
		t.Error("acknowledged while nobody else has it")
	}
	if err := c.Inbox().MarkDelivered(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	c.awaitAcknowledged(id)
	w.expectSound(c)
}

// A message that is refused for its durability comes again, and waits again although it is in the inbox.
func TestKnownMessageWaitsToo(t *testing.T) {
	t.Parallel() // it waits for the backoff
	w := newWorld(t)
	cloud := newCloud()
	c := w.reopened(cloud.config)
	id := w.sendText(w.other, w.own.PN(), "precious")
	for range 2 {
		<-cloud.asked
		cloud.answers <- errors.New("fenced")
	}
	<-cloud.asked
	if c.acknowledged(id) {
		t.Error("acknowledged before it was durable")
	}
	cloud.answers <- nil
	c.awaitAcknowledged(id)
	w.expectSound(c)
}

// The machine is lost right after a message came in. Acknowledged on local durability alone it is gone; with A1 it
// comes again to whoever goes on.
func TestMachineLostAfterAMessage(t *testing.T) {
	for _, test := range []struct {
		name    string
		durable func(context.Context) error
		lost    bool
	}{
		{"acknowledged at once", nil, true},
		{"acknowledged late", func(ctx context.Context) error {
			<-ctx.Done() // TiDB never gets it
			return ctx.Err()
		}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			c := w.reopened(func(cfg *Config) { cfg.Durable = test.durable })
			cloud := c.throughTheLog()
			id := w.sendText(w.other, w.own.PN(), "precious")
			c.awaitMessage("precious")
			if test.lost {
				c.awaitAcknowledged(id)
			}
			c.close() // and its disk is gone

			again := w.open(cloud)
			if err := again.PrepareSafe(testContext(t), PrepareSafe{MaxPreKeyID: 1000}); err != nil {
				t.Fatal(err)
			}
			again.connect(true)
			w.sendText(w.other, w.own.PN(), "next")
			again.awaitMessage("next")
			if n := again.times("precious"); (n == 0) != test.lost {
				t.Errorf("the message is there %d times, want lost: %v", n, test.lost)
			}
		})
	}
}

func TestWhatWaits(t *testing.T) {
	w := newWorld(t)
	var asked atomic.Int32
	c := w.reopened(func(cfg *Config) {
		cfg.Durable = func(context.Context) error {
			asked.Add(1)
			return nil
		}
	})
	share, history := waE2E.ProtocolMessage_APP_STATE_SYNC_KEY_SHARE, waE2E.ProtocolMessage_HISTORY_SYNC_NOTIFICATION
	own := types.MessageSource{Chat: w.own.LID(), Sender: w.own.LID(), IsFromMe: true}
	other := types.MessageSource{Chat: w.other.LID(), Sender: w.other.LID(), SenderAlt: w.other.PN()}
	for _, test := range []struct {
		name    string
		from    types.MessageSource
		message *waE2E.Message
		want    int32
	}{
		{"text", other, &waE2E.Message{Conversation: new("text")}, 1},
		{"the same again", other, &waE2E.Message{Conversation: new("text")}, 1},
		{"history", own, &waE2E.Message{ProtocolMessage: &waE2E.ProtocolMessage{
			Type: &history, HistorySyncNotification: &waE2E.HistorySyncNotification{FileLength: new(uint64(1))},
		}}, 1},
		{"sender key", other, &waE2E.Message{SenderKeyDistributionMessage: &waE2E.SenderKeyDistributionMessage{GroupID: new("g")}}, 0},
		{"app state key", own, &waE2E.Message{ProtocolMessage: &waE2E.ProtocolMessage{Type: &share}}, 0},
	} {
		asked.Store(0)
		evt := &events.Message{
			Message: test.message, RawMessage: test.message,
			Info: types.MessageInfo{ID: "3EB0WAITS", Timestamp: time.Unix(1_700_000_000, 0), MessageSource: test.from},
		}
		if !c.handle(evt) {
			t.Errorf("%s: refused", test.name)
		}
		if n := asked.Load(); n != test.want {
			t.Errorf("%s: waited %d times, want %d", test.name, n, test.want)
		}
	}
}

// An answer to a request for a message is acknowledged whatever the handler says, so it stays until it is durable.
func TestPlaceholderAnswerWaits(t *testing.T) {
	w := newWorld(t)
	calls := 0
	c := w.open(w.linkedFile(), func(cfg *Config) {
		cfg.Durable = func(context.Context) error {
			if calls++; calls <= 2 {
				return errors.New("fenced")
			}
			return nil
		}
	})
	evt := textEvent(w, "answered")
	evt.UnavailableRequestID = "3EB0REQUEST"
	if !c.handle(evt) || calls != 3 || c.times("answered") != 1 {
		t.Errorf("taken after %d tries, stored %d times", calls, c.times("answered"))
	}
}

// linkedFile is the file of a linked session that is stopped.
func (w *world) linkedFile() string {
	w.t.Helper()
	c := w.pairQR()
	c.close()
	return c.path
}

// A stop doesn't wait for a database that doesn't answer, and the message comes again afterwards.
func TestStopWhileAMessageWaits(t *testing.T) {
	w := newWorld(t)
	cloud := newCloud()
	c := w.reopened(cloud.config)
	id := w.sendText(w.other, w.own.PN(), "precious")
	<-cloud.asked
	if err := c.Stop(testContext(t)); err != nil { // it says so when a handler doesn't end in time
		t.Errorf("stop: %v", err)
	}
	if c.acknowledged(id) {
		t.Error("acknowledged by a session that has stopped")
	}
	c.close()
	again := w.open(c.path)
	again.connect(false)
	again.awaitAcknowledged(id)
	w.expectSound(again)
}

// A panic of the hook costs a new connection, never an acknowledgement, and no bare record beside the message.
func TestPanicWhileWaiting(t *testing.T) {
	t.Parallel() // it waits for the backoff
	w := newWorld(t)
	var calls atomic.Int32
	c := w.reopened(func(cfg *Config) {
		cfg.Durable = func(context.Context) error {
			if calls.Add(1) <= maxPanics {
				panic(plantedMarker)
			}
			return nil
		}
	})
	id := w.sendText(w.other, w.own.PN(), "precious")
	c.awaitAcknowledged(id)
	if n := calls.Load(); n != maxPanics+1 {
		t.Errorf("acknowledged at try %d", n)
	}
	if list := c.messages(); len(list) != 1 || list[0].Text != "precious" {
		t.Errorf("inbox: %+v", list)
	}
}

// While a message waits, sends go out and are answered: only the service's other stanzas queue up behind it.
func TestSendWhileAMessageWaits(t *testing.T) {
	w := newWorld(t)
	cloud := newCloud()
	c := w.reopened(cloud.config)
	c.send(w.other.PN(), "before")
	w.sendText(w.other, w.own.PN(), "precious")
	<-cloud.asked
	c.send(w.other.PN(), "meanwhile")
	w.waitText(w.other, "meanwhile")
	cloud.answers <- nil
	w.expectSound(c)
}

// forgetfulStore loses the first sender key that is written.
type forgetfulStore struct {
	store.AllSessionSpecificStores
	lost atomic.Bool
}

func (s *forgetfulStore) PutSenderKey(ctx context.Context, group, user string, key []byte) error {
	if !s.lost.Swap(true) {
		return nil
	}
	return s.AllSessionSpecificStores.PutSenderKey(ctx, group, user, key)
}

// A sender key that was acknowledged and is lost, as with a disk, is asked for again: no message is lost, so nothing
// waits for sender keys.
func TestLostSenderKeyCostsARetry(t *testing.T) {
	w := newWorld(t)
	path := w.linkedFile()
	group, err := w.other.CreateGroup(testContext(t), w.own.PN())
	if err != nil {
		t.Fatal(err)
	}
	c := w.open(path)
	guarded := c.device.Sessions.(*guardedStore)
	forgetful := &forgetfulStore{AllSessionSpecificStores: guarded.AllSessionSpecificStores}
	guarded.AllSessionSpecificStores = forgetful
	c.connect(false)
	w.sendText(w.other, group, "under a lost key")
	c.awaitMessage("under a lost key")
	if n := w.service.Counters().RetryReceipts; !forgetful.lost.Load() || n == 0 {
		t.Errorf("%d retries: no key was lost", n)
	}
	w.expectSound(c)
}
