package whatsapp

import (
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/types/events"
)

// isAnswer tells whether a message is our own phone's answer to a request for it.
func isAnswer(evt *events.Message) bool { return evt.UnavailableRequestID != "" }

// asSent makes of a message what it is when it comes from its sender. What the phone answers with, whatsmeow parses as
// history, and history knows no edits: there an edit has become the message it edits, under that one's id. And it takes
// nothing but groups for groups, where it otherwise takes broadcast lists and statuses for them as well.
func asSent(evt *events.Message) *events.Message {
	if !isAnswer(evt) {
		return evt
	}
	sent := *evt
	sent.Info.IsGroup = evt.Info.IsGroup || evt.Info.Chat.Server == types.BroadcastServer
	if id := evt.SourceWebMsg.GetKey().GetID(); id != "" {
		sent.Info.ID = id
		sent.UnwrapRaw()
	}
	return &sent
}
