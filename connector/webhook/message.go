package webhook

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"cloudsession/connector/inbox"
)

// TypeReceived is the type of every message.
const TypeReceived = "message.received"

// Message is the body of a delivery. Fields may be added; a receiver ignores those it doesn't know.
type Message struct {
	Type string `json:"type"`
	// Key is the idempotency key: one for each message of a session, the same in every attempt and on every connector.
	// It is "msg_" and 40 hexadecimal digits.
	Key       string `json:"key"`
	SessionID string `json:"session_id"`
	// ID is the message id its sender gave it. Another sender can use it too, so it is no key.
	ID string `json:"id"`
	// Chat and Sender are JIDs without a device: the LID where it is known, else the phone number's.
	Chat   string `json:"chat"`
	Sender string `json:"sender"`
	// ChatPN and SenderPN are the phone number JIDs, left out where they aren't known.
	ChatPN   string `json:"chat_pn,omitempty"`
	SenderPN string `json:"sender_pn,omitempty"`
	// FromMe is set for messages that another device of the session's own account sent.
	FromMe   bool   `json:"from_me"`
	PushName string `json:"push_name,omitempty"`
	// Kind says what the message holds: text, image, video, audio, document, sticker, reaction, location, contact,
	// edit, revoke, other, or unreadable. New kinds may come.
	Kind string `json:"kind"`
	// Text is the text, or a medium's caption.
	Text string `json:"text"`
	// Payload is WhatsApp's own encoding of the message (a marshalled waE2E.Message), in base64, where Text doesn't
	// carry all of it: for media, and for texts that quote, mention, link or are forwarded. Left out for plain texts.
	// Above 64 KiB its previews are left out (thumbnails, pictures of contacts), and if that isn't enough, all of it.
	Payload []byte `json:"payload,omitempty"`
	// PayloadCut is true where a payload was left out because it is too large. Left out otherwise.
	PayloadCut bool `json:"payload_cut,omitempty"`
	// Timestamp is the time the service stamped on the message, ReceivedAt when this session stored it. RFC 3339, UTC.
	Timestamp  time.Time `json:"timestamp"`
	ReceivedAt time.Time `json:"received_at"`
}

// Key returns the idempotency key of a session's message. It is made of the session id and Message.Origin, which
// names the addresses the service wrote, so that what a connector has learnt since doesn't change it.
func Key(sessionID string, m inbox.Message) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "cloudsession webhook v1 %d %s%s", len(sessionID), sessionID, m.Origin))
	return "msg_" + hex.EncodeToString(sum[:20])
}

// encode makes the key and the body of a delivery.
func encode(sessionID string, m inbox.Message) (key string, body []byte, err error) {
	key = Key(sessionID, m)
	body, err = json.Marshal(Message{
		Type: TypeReceived, Key: key, SessionID: sessionID, ID: m.ID,
		Chat: m.Chat, Sender: m.Sender, ChatPN: m.ChatPN, SenderPN: m.SenderPN,
		FromMe: m.FromMe, PushName: m.PushName, Kind: m.Kind, Text: m.Text, Payload: m.Payload, PayloadCut: m.PayloadCut,
		Timestamp: m.SentAt, ReceivedAt: m.ReceivedAt,
	})
	if err != nil {
		return "", nil, fmt.Errorf("encode message: %w", err)
	}
	return key, body, nil
}
