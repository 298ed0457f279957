package whatsapp

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/types/events"
	"google.golang.org/protobuf/proto"

	"cloudsession/connector/inbox"
)

// maxPanics is how many times handling one message may panic before a bare record of it is stored, so that the
// messages behind it get through.
const maxPanics = 3

// receive stores a message and waits until it may be acknowledged. true lets whatsmeow acknowledge it (W3, A1).
//
// Two things whatsmeow acknowledges whatever the handler says, so they are tried here until they are stored, or the
// connection is closed for good: answers of the phone to a request for an unavailable message, and its announcements of
// history. Those it even acknowledges before: one that comes in the moment the process ends is lost.
func (s *Session) receive(evt *events.Message) bool {
	evt = asSent(evt)
	delay := 50 * time.Millisecond
	for {
		err := s.take(evt)
		switch {
		case err == nil:
			return true
		case s.stopping():
			s.log.Debug("message left for the next start", "message_id", evt.Info.ID)
		default:
			s.log.Error("message not taken, it will come again", "message_id", evt.Info.ID, "error", scrub(err.Error()))
		}
		if s.guard.testWithout == "W3" {
			return true
		}
		if !isAnswer(evt) && historyNote(evt) == nil {
			s.reset("message not taken")
			return false
		}
		select {
		case <-s.hungUp:
			return false
		case <-time.After(delay):
			delay = min(2*delay, 5*time.Second)
		}
	}
}

// take stores what a message brings and waits until that would survive the loss of this machine (A1). A message that
// comes again waits too: it is known here, but nobody has said that the cloud has it.
//
// Only what is lost for good with an acknowledged message waits: messages, and announcements of history, which the
// phone makes once. What else a message brings is Signal state: sender keys, and the pairwise session that carried
// them. If the disk goes before they are pushed, the next start is safe and drops the sessions anyway, and a group
// message without its sender key is asked for again (TestLostSenderKeyCostsARetry). App state keys are asked for again
// when they are missing. Waiting for those would also hold up a safe start, which needs the phone's answers.
func (s *Session) take(evt *events.Message) error {
	var k kept
	defer func() {
		if k.stop != nil {
			k.stop()
		}
	}()
	err := s.store(evt, &k)
	if err != nil || !k.precious || s.cfg.Durable == nil {
		return err
	}
	return s.protect(&k)
}

// kept is what store has put into the session file.
type kept struct {
	precious bool            // gone for good if the message is acknowledged and the file lost
	taken    <-chan struct{} // closed once the application has the message; nil for what isn't for it
	stop     func()          // ends the watch for that
}

// protect waits until TiDB or the application has what was stored, whichever is first.
func (s *Session) protect(k *kept) error {
	ctx, cancel := context.WithCancelCause(s.ctx)
	defer cancel(nil)
	if k.taken != nil {
		go func() {
			select {
			case <-k.taken:
				cancel(errTaken)
			case <-ctx.Done():
			}
		}()
	}
	err := s.cfg.Durable(ctx)
	switch {
	case err == nil, errors.Is(err, context.Canceled) && errors.Is(context.Cause(ctx), errTaken):
		return nil
	default:
		return fmt.Errorf("wait until it is in the cloud: %w", err)
	}
}

var errTaken = errors.New("the application has taken the message")

// store puts what a message event brings into the session file, in one transaction.
func (s *Session) store(evt *events.Message, k *kept) (err error) {
	defer func() {
		if p := recover(); p != nil {
			k.precious = true
			err = s.panicked(evt, p)
		}
	}()
	if s.guard.fault.Load() {
		return errFaulted // a part of this message may not have been stored (W2)
	}
	if s.testMessage != nil {
		if err := s.testMessage(evt); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(s.ctx, 30*time.Second)
	defer cancel()
	if note := historyNote(evt); note != nil {
		k.precious = true
		return s.storeHistory(ctx, evt.Info.ID, note)
	}
	kind, text, isMessage := classify(evt.Message)
	if !isMessage {
		return nil
	}
	m := s.record(ctx, evt)
	m.Kind, m.Text = kind, text
	if m.Payload, m.PayloadCut, err = payload(evt.Message); err != nil {
		return err
	}
	k.precious = true
	k.taken, k.stop = s.inbox.AwaitDelivery(m) // before it is added, or the delivery may come first
	return s.add(ctx, m)
}

func (s *Session) add(ctx context.Context, m inbox.Message) error {
	isNew, err := s.inbox.Add(ctx, m)
	if err != nil {
		return err
	}
	if isNew && !m.FromMe {
		s.cfg.Observer.Received()
		s.passed(directionIn)
	}
	return nil
}

// record makes the inbox's message of an event's addresses.
func (s *Session) record(ctx context.Context, evt *events.Message) inbox.Message {
	info := &evt.Info
	sender, senderPN := s.addresses(ctx, info.Sender, info.SenderAlt)
	chat, chatPN := s.addresses(ctx, info.Chat, info.RecipientAlt)
	if !info.IsGroup && !info.IsFromMe {
		chat, chatPN = sender, senderPN
	}
	fromSender, fromChat := asWritten(info.Sender, info.SenderAlt), asWritten(info.Chat, info.RecipientAlt)
	if !info.IsGroup && !info.IsFromMe {
		fromChat = fromSender
	}
	if isAnswer(evt) {
		// The phone answers with the phone number alone. What it was asked for came first, under the address that
		// this device has learnt from it.
		fromSender, fromChat = sender, chat
	}
	return inbox.Message{
		FromChat: fromChat, FromSender: fromSender,
		Chat: chat, ChatPN: chatPN, Sender: sender, SenderPN: senderPN,
		ID: info.ID, FromMe: info.IsFromMe, PushName: info.PushName, SentAt: info.Timestamp,
	}
}

// asWritten returns an address as the service wrote it on a message: the LID if one stands there. Unlike addresses it
// doesn't depend on what this device has learnt, so a message that comes again elsewhere is known for the same.
//
// But for one case: where the service writes a phone number alone, whatsmeow puts in the LID that it knows, and nothing
// tells the two apart. Elsewhere such a message is another one if the record of it and the LID were both lost before
// they were durable.
func asWritten(jid, alt types.JID) string {
	if jid.Server != types.HiddenUserServer && alt.Server == types.HiddenUserServer {
		jid = alt
	}
	return jid.ToNonAD().String()
}

// addresses returns a person's LID, or the phone number when no LID is known, and the phone number, or "" for none.
func (s *Session) addresses(ctx context.Context, jid, alt types.JID) (main, pn string) {
	jid, alt = jid.ToNonAD(), alt.ToNonAD()
	if jid.Server != types.DefaultUserServer && jid.Server != types.HiddenUserServer {
		return jid.String(), ""
	}
	if alt.IsEmpty() {
		// An unknown address is left as it is: the inbox knows a message under either.
		if other, err := s.device.GetAltJID(ctx, jid); err == nil {
			alt = other.ToNonAD()
		}
	}
	if jid.Server == types.DefaultUserServer {
		jid, alt = alt, jid
	}
	if jid.IsEmpty() {
		return alt.String(), alt.String()
	}
	if alt.IsEmpty() {
		return jid.String(), ""
	}
	return jid.String(), alt.String()
}

// panicked turns a panic while handling a message into an error, and stores a bare record of a message that panics
// again and again.
func (s *Session) panicked(evt *events.Message, p any) error {
	s.mu.Lock()
	if s.panics == nil {
		s.panics = make(map[types.MessageID]int)
	}
	s.panics[evt.Info.ID]++
	times := s.panics[evt.Info.ID]
	s.mu.Unlock()
	// The panic's value may quote the message.
	s.log.Error("handling a message panicked", "message_id", evt.Info.ID, "times", times, "panic_type", fmt.Sprintf("%T", p))
	if times < maxPanics {
		return errors.New("handling the message panicked")
	}
	ctx, cancel := context.WithTimeout(s.ctx, 30*time.Second)
	defer cancel()
	m := s.record(ctx, evt)
	m.Kind = "unreadable"
	return s.add(ctx, m)
}

// classify says what a message holds. isMessage is false for what isn't meant for people: keys, and messages between
// the devices of an account. A group message comes with its keys in a part of its own, under the same id.
func classify(m *waE2E.Message) (kind, text string, isMessage bool) {
	switch {
	case m == nil:
		return "", "", false
	case m.Conversation != nil:
		return "text", m.GetConversation(), true
	case m.ExtendedTextMessage != nil:
		return "text", m.GetExtendedTextMessage().GetText(), true
	case m.ImageMessage != nil:
		return "image", m.GetImageMessage().GetCaption(), true
	case m.VideoMessage != nil:
		return "video", m.GetVideoMessage().GetCaption(), true
	case m.AudioMessage != nil:
		return "audio", "", true
	case m.DocumentMessage != nil:
		return "document", m.GetDocumentMessage().GetCaption(), true
	case m.StickerMessage != nil:
		return "sticker", "", true
	case m.ReactionMessage != nil:
		return "reaction", m.GetReactionMessage().GetText(), true
	case m.LocationMessage != nil, m.LiveLocationMessage != nil:
		return "location", "", true
	case m.ContactMessage != nil, m.ContactsArrayMessage != nil:
		return "contact", "", true
	case m.ProtocolMessage != nil:
		return classifyProtocol(m.GetProtocolMessage())
	}
	// Anything but keys alone is something, also what this version has no name for.
	rest := proto.Clone(m).(*waE2E.Message)
	rest.SenderKeyDistributionMessage, rest.FastRatchetKeySenderKeyDistributionMessage, rest.MessageContextInfo = nil, nil, nil
	if proto.Size(rest) == 0 {
		return "", "", false
	}
	return "other", "", true
}

func classifyProtocol(m *waE2E.ProtocolMessage) (kind, text string, isMessage bool) {
	switch m.GetType() {
	case waE2E.ProtocolMessage_REVOKE:
		if m.GetKey() != nil {
			return "revoke", "", true
		}
	case waE2E.ProtocolMessage_MESSAGE_EDIT:
		_, text, _ = classify(m.GetEditedMessage())
		return "edit", text, true
	}
	return "", "", false
}
