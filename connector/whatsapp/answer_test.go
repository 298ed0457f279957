package whatsapp

import (
	"testing"

	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/proto/waCommon"
	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/proto/waWeb"
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/types/events"
)

// answered has a session whose phone answers for it: the service has no copy of what others send it.
func (w *world) answered() *client {
	w.t.Helper()
	c := w.pairQR()
	w.sendText(w.own, w.other.PN(), "from the phone") // which is in touch with the session then
	c.awaitMessage("from the phone")
	device := c.jid()
	w.service.Faults().Withhold(&device)
	return c
}

// An edit is a message of its own, also when the phone answers for it: whatsmeow parses the answer as what it edits.
func TestPhoneAnswersForAnEdit(t *testing.T) {
	w := newWorld(t)
	c := w.answered()
	id := w.sendText(w.other, w.own.PN(), "frist")
	c.awaitMessage("frist")
	kind := waE2E.ProtocolMessage_MESSAGE_EDIT
	editID, err := w.other.Send(testContext(t), w.own.PN(), &waE2E.Message{EditedMessage: &waE2E.FutureProofMessage{
		Message: &waE2E.Message{ProtocolMessage: &waE2E.ProtocolMessage{
			Type: &kind, Key: &waCommon.MessageKey{ID: new(id)}, EditedMessage: &waE2E.Message{Conversation: new("first")},
		}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if m := c.awaitMessage("first"); m.ID != editID || m.Kind != "edit" || m.Payload == nil {
		t.Errorf("the edit %s of %s is %s, %q", editID, id, m.ID, m.Kind)
	}
	w.expectSound(c)
}

// A status is no message in the chat with whoever posted it, and one message whoever it came from.
func TestPhoneAnswersForAStatus(t *testing.T) {
	w := newWorld(t)
	c := w.pairQR()
	message := &waE2E.Message{Conversation: new("at the beach")}
	participant := w.other.PN().String()
	answer, err := c.cli.ParseWebMessage(types.EmptyJID, &waWeb.WebMessageInfo{
		Key:         &waCommon.MessageKey{RemoteJID: new(types.StatusBroadcastJID.String()), ID: new("3EB0STATUS"), Participant: &participant},
		Participant: &participant, Message: message, MessageTimestamp: new(uint64(1_700_000_000)),
	})
	if err != nil {
		t.Fatal(err)
	}
	answer.UnavailableRequestID = "3EB0REQUEST"
	live, err := c.internals().ParseMessageInfo(&waBinary.Node{Tag: "message", Attrs: waBinary.Attrs{
		"from": types.StatusBroadcastJID, "participant": w.other.LID(), "participant_pn": w.other.PN(), "addressing_mode": "lid",
		"id": "3EB0STATUS", "t": "1700000000",
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, evt := range []*events.Message{answer, {Info: *live, Message: message, RawMessage: message}} {
		if !c.handle(evt) {
			t.Fatal("refused")
		}
	}
	list := c.messages()
	if len(list) != 1 || list[0].Chat != types.StatusBroadcastJID.String() || list[0].ChatPN != "" {
		t.Errorf("stored as %+v", list)
	}
}
