package whatsapp

import (
	"bytes"
	"strings"
	"testing"

	"go.mau.fi/whatsmeow/proto/waE2E"
	"google.golang.org/protobuf/proto"
)

// A text needs a payload when it says more than its words.
func TestPayloadOfATextThatSaysMore(t *testing.T) {
	extended := func(e *waE2E.ExtendedTextMessage) *waE2E.Message {
		e.Text = new("hello")
		return &waE2E.Message{ExtendedTextMessage: e, MessageContextInfo: &waE2E.MessageContextInfo{MessageSecret: make([]byte, 32)}}
	}
	inContext := func(c *waE2E.ContextInfo) *waE2E.Message { return extended(&waE2E.ExtendedTextMessage{ContextInfo: c}) }
	keys := &waE2E.SenderKeyDistributionMessage{GroupID: new("g"), AxolotlSenderKeyDistributionMessage: []byte("secret")}
	for _, test := range []struct {
		name    string
		message *waE2E.Message
		more    bool
	}{
		{"text", &waE2E.Message{Conversation: new("hello")}, false},
		{"text with keys", &waE2E.Message{Conversation: new("hello"), SenderKeyDistributionMessage: keys}, false},
		{"extended text", extended(&waE2E.ExtendedTextMessage{}), false},
		{"without a preview", extended(&waE2E.ExtendedTextMessage{PreviewType: waE2E.ExtendedTextMessage_NONE.Enum()}), false},
		{"answer", inContext(&waE2E.ContextInfo{StanzaID: new("3EB0"), Participant: new("1@lid")}), true},
		{"mention", inContext(&waE2E.ContextInfo{MentionedJID: []string{"1@lid"}}), true},
		{"forwarded", inContext(&waE2E.ContextInfo{IsForwarded: new(true)}), true},
		{"disappearing", inContext(&waE2E.ContextInfo{Expiration: new(uint32(86400))}), true},
		{"link", extended(&waE2E.ExtendedTextMessage{MatchedText: new("https://example.com"), Title: new("Example")}), true},
	} {
		data, cut, err := payload(test.message)
		if err != nil || cut || (data != nil) != test.more {
			t.Errorf("%s: %d bytes, cut %v, %v", test.name, len(data), cut, err)
		}
		test.message.MessageContextInfo = nil // for the devices alone
		var back waE2E.Message
		if err := proto.Unmarshal(data, &back); err != nil || test.more && !proto.Equal(&back, test.message) {
			t.Errorf("%s: comes back as %v, %v", test.name, &back, err)
		}
	}
	data, _, err := payload(&waE2E.Message{ImageMessage: &waE2E.ImageMessage{}, SenderKeyDistributionMessage: keys})
	if err != nil || data == nil || bytes.Contains(data, []byte("secret")) {
		t.Errorf("a sender key goes to the application: %q, %v", data, err)
	}
}

// What is too large loses its previews, and only when it is too large still everything.
func TestPayloadTooLarge(t *testing.T) {
	large, checksum := make([]byte, maxPayload), make([]byte, 32)
	const card = "BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Ani\r\n%item1.TEL;waid=62812:+62 812\r\nEND:VCARD\r\n"
	photo := "PHOTO;BASE64:" + strings.Repeat("AAAA\r\n ", maxPayload/4) + "\r\n"
	contact := func(inner string) *waE2E.Message {
		return &waE2E.Message{ContactMessage: &waE2E.ContactMessage{
			DisplayName: new("Ani"), Vcard: new(strings.Replace(card, "%", inner, 1)),
		}}
	}
	document := func(thumbnail []byte) *waE2E.Message {
		return &waE2E.Message{DocumentMessage: &waE2E.DocumentMessage{
			Title: new("Invoice"), JPEGThumbnail: thumbnail, ThumbnailSHA256: checksum, FileSHA256: checksum,
		}}
	}
	answer := func(quoted *waE2E.Message) *waE2E.Message {
		return &waE2E.Message{ExtendedTextMessage: &waE2E.ExtendedTextMessage{
			Text: new("see there"), ContextInfo: &waE2E.ContextInfo{StanzaID: new("3EB0"), QuotedMessage: quoted},
		}}
	}
	cards := func(inner string) *waE2E.Message {
		return &waE2E.Message{ContactsArrayMessage: &waE2E.ContactsArrayMessage{
			Contacts: []*waE2E.ContactMessage{contact(inner).GetContactMessage(), contact("").GetContactMessage()},
		}}
	}
	for _, test := range []struct {
		name          string
		message, want *waE2E.Message
	}{
		{"preview", document(large), document(nil)},
		{"preview of what it answers", answer(document(large)), answer(document(nil))},
		{"picture of a contact", contact(photo), contact("")},
		{"picture of one of several", cards(photo), cards("")},
		{"preview that fits", document(large[:100]), document(large[:100])},
		{"all of it", &waE2E.Message{PollCreationMessage: &waE2E.PollCreationMessage{Name: new(string(large))}}, nil},
	} {
		before := proto.Clone(test.message)
		data, cut, err := payload(test.message)
		if err != nil || cut != (test.want == nil) || len(data) > maxPayload {
			t.Errorf("%s: %d bytes, cut %v, %v", test.name, len(data), cut, err)
			continue
		}
		var got waE2E.Message
		if err := proto.Unmarshal(data, &got); err != nil || test.want != nil && !proto.Equal(&got, test.want) {
			t.Errorf("%s: kept %v, %v", test.name, &got, err)
		}
		if !proto.Equal(before, test.message) {
			t.Errorf("%s: the message itself was changed", test.name)
		}
	}
}

// What a text answers reaches the application, and that there was more than it gets: here and on another machine.
func TestPayloadIsStored(t *testing.T) {
	w := newWorld(t)
	c := w.pairQR()
	answer, poll := textEvent(w, "answer"), textEvent(w, "poll")
	answer.Message = &waE2E.Message{ExtendedTextMessage: &waE2E.ExtendedTextMessage{
		Text: new("yes"), ContextInfo: &waE2E.ContextInfo{StanzaID: new("3EB0QUESTION")},
	}}
	poll.Message = &waE2E.Message{PollCreationMessage: &waE2E.PollCreationMessage{Name: new(strings.Repeat("?", maxPayload))}}
	if !c.handle(answer) || !c.handle(poll) {
		t.Fatal("refused")
	}
	elsewhere := w.open(c.throughTheLog())
	list := elsewhere.messages()
	if len(list) != 2 || !bytes.Contains(list[0].Payload, []byte("3EB0QUESTION")) || list[0].PayloadCut {
		t.Errorf("stored: %+v", list)
	} else if list[1].Payload != nil || !list[1].PayloadCut {
		t.Errorf("a payload that is too large: %d bytes, cut %v", len(list[1].Payload), list[1].PayloadCut)
	}
}
