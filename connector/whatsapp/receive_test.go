package whatsapp

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/types/events"

	"cloudsession/connector/watest"
)

// textEvent is a message event as whatsmeow dispatches it.
func textEvent(w *world, text string) *events.Message {
	m := &waE2E.Message{Conversation: new(text)}
	return &events.Message{Message: m, RawMessage: m, Info: types.MessageInfo{
		ID: "3EB0" + text, Timestamp: time.Unix(1_700_000_000, 0),
		MessageSource: types.MessageSource{Chat: w.other.LID(), Sender: w.other.LID(), SenderAlt: w.other.PN()},
	}}
}

func TestFailedHandlerGetsMessageAgain(t *testing.T) {
	const precious = "precious " + plantedMarker
	for _, test := range []struct {
		name string
		fail func() error
	}{
		{"panic", func() error { panic(plantedMarker) }},
		{"error", func() error { return errors.New("inbox is broken") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			c := w.pairQR()
			var failures atomic.Int32
			c.testMessage = func(evt *events.Message) error {
				if evt.Message.GetConversation() == precious && failures.Add(1) <= 2 {
					return test.fail()
				}
				return nil
			}
			w.sendText(w.other, w.own.PN(), precious)
			c.awaitMessage(precious)
			if n := failures.Load(); n != 3 {
				t.Errorf("the message came %d times", n)
			}
			if n := c.times(precious); n != 1 {
				t.Errorf("stored %d times", n)
			}
			w.sendText(w.other, w.own.PN(), "next")
			c.awaitMessage("next")
			w.expectSound(c)
		})
	}
}

func TestPoisonedMessageDoesNotBlock(t *testing.T) {
	w := newWorld(t)
	c := w.pairQR()
	c.testMessage = func(evt *events.Message) error {
		if evt.Message.GetConversation() == "poison" {
			panic("always")
		}
		return nil
	}
	id := w.sendText(w.other, w.own.PN(), "poison")
	w.sendText(w.other, w.own.PN(), "behind it")
	c.awaitMessage("behind it")
	c.awaitMessage("") // the bare record
	var kinds []string
	for _, m := range c.messages() {
		if m.ID == id {
			kinds = append(kinds, m.Kind)
		}
	}
	if len(kinds) != 1 || kinds[0] != "unreadable" {
		t.Errorf("the poisoned message is recorded as %v", kinds)
	}
}

func TestRedeliveryIsOneMessage(t *testing.T) {
	w := newWorld(t)
	c := w.pairQR()
	device := c.jid()
	// The receipt never arrives, so the service delivers the message again with the next connection.
	rule := w.service.Faults().Drop(&device, watest.FromDevice, watest.Tag("receipt"))
	w.sendText(w.other, w.own.PN(), "again and again")
	c.awaitMessage("again and again")
	w.wait("dropped receipt", func() bool { return rule.Hits() > 0 })
	rule.Remove()
	w.service.Faults().Cut(&device)
	w.wait("empty queue", func() bool {
		info := w.service.Device(device)
		return info.Logins == 2 && info.Active && info.Queued == 0
	})
	w.sendText(w.other, w.own.PN(), "new")
	c.awaitMessage("new")
	if n := c.times("again and again"); n != 1 {
		t.Errorf("stored %d times", n)
	}
}

func TestSameMessageUnderOtherAddress(t *testing.T) {
	w := newWorld(t)
	c := w.pairQR()
	evt := textEvent(w, "twice")
	if !c.handle(evt) {
		t.Fatal("not stored")
	}
	// As the phone answers a request for it: by phone number, without the LID.
	again := textEvent(w, "twice")
	again.Info.MessageSource = types.MessageSource{Chat: w.other.PN(), Sender: w.other.PN()}
	again.UnavailableRequestID = "3EB0REQUEST"
	if !c.handle(again) {
		t.Fatal("not taken")
	}
	if n := c.times("twice"); n != 1 {
		t.Errorf("stored %d times", n)
	}
}

// What whatsmeow acknowledges whatever the handler says is tried until it is stored.
func TestRetriedInside(t *testing.T) {
	w := newWorld(t)
	c := w.pairQR()
	answer := textEvent(w, "answered")
	answer.UnavailableRequestID = "3EB0REQUEST"
	kind := waE2E.ProtocolMessage_HISTORY_SYNC_NOTIFICATION
	note := &waE2E.Message{ProtocolMessage: &waE2E.ProtocolMessage{
		Type: &kind, HistorySyncNotification: &waE2E.HistorySyncNotification{FileLength: new(uint64(1))},
	}}
	history := &events.Message{Message: note, RawMessage: note, Info: types.MessageInfo{
		ID: "3EB0HISTORY", Category: "peer", MessageSource: types.MessageSource{Chat: w.own.LID(), Sender: w.own.LID(), IsFromMe: true},
	}}
	for _, test := range []struct {
		name, stored string
		evt          *events.Message
	}{
		{"answer", "inbox_messages WHERE text = 'answered'", answer},
		{"history", "inbox_history WHERE id = '3EB0HISTORY'", history},
	} {
		failures := 0
		c.testMessage = func(*events.Message) error {
			if failures++; failures <= 2 {
				return errors.New("database is locked")
			}
			return nil
		}
		if !c.handle(test.evt) {
			t.Errorf("%s: refused, and whatsmeow acknowledges it all the same", test.name)
		}
		if n := c.count(test.stored); n != 1 || failures != 3 {
			t.Errorf("%s: stored %d times after %d tries", test.name, n, failures)
		}
	}
}

func TestClassify(t *testing.T) {
	text := func(s string) *waE2E.Message { return &waE2E.Message{Conversation: new(s)} }
	keys := &waE2E.SenderKeyDistributionMessage{GroupID: new("g")}
	revoke, edit, share := waE2E.ProtocolMessage_REVOKE, waE2E.ProtocolMessage_MESSAGE_EDIT, waE2E.ProtocolMessage_APP_STATE_SYNC_KEY_SHARE
	for _, test := range []struct {
		name       string
		message    *waE2E.Message
		kind, text string
	}{
		{"nothing", nil, "", ""},
		{"empty", &waE2E.Message{}, "", ""},
		{"keys alone", &waE2E.Message{SenderKeyDistributionMessage: keys}, "", ""},
		{"keys and text", &waE2E.Message{SenderKeyDistributionMessage: keys, Conversation: new("a")}, "text", "a"},
		{"text", text("a"), "text", "a"},
		{"long text", &waE2E.Message{ExtendedTextMessage: &waE2E.ExtendedTextMessage{Text: new("b")}}, "text", "b"},
		{"image", &waE2E.Message{ImageMessage: &waE2E.ImageMessage{Caption: new("c")}}, "image", "c"},
		{"reaction", &waE2E.Message{ReactionMessage: &waE2E.ReactionMessage{Text: new("👍")}}, "reaction", "👍"},
		{"poll", &waE2E.Message{PollCreationMessage: &waE2E.PollCreationMessage{Name: new("d")}}, "other", ""},
		{"key share", &waE2E.Message{ProtocolMessage: &waE2E.ProtocolMessage{Type: &share}}, "", ""},
		{"edit", &waE2E.Message{ProtocolMessage: &waE2E.ProtocolMessage{Type: &edit, EditedMessage: text("e")}}, "edit", "e"},
	} {
		kind, got, isMessage := classify(test.message)
		if kind != test.kind || got != test.text || isMessage != (kind != "") {
			t.Errorf("%s: %q, %q, %v", test.name, kind, got, isMessage)
		}
	}
	if kind, _, _ := classify(&waE2E.Message{ProtocolMessage: &waE2E.ProtocolMessage{Type: &revoke}}); kind != "" {
		t.Errorf("a revocation of nothing is %q", kind)
	}
}
