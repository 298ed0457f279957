package watest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"

	"go.mau.fi/libsignal/groups"
	"go.mau.fi/libsignal/keys/prekey"
	"go.mau.fi/libsignal/protocol"
	"go.mau.fi/libsignal/session"
	"go.mau.fi/libsignal/signalerror"
	"go.mau.fi/whatsmeow/proto/waCommon"
	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/proto/waWeb"
	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/types"
	"google.golang.org/protobuf/proto"
)

// maxRetries is how often a phone asks for the same message again.
const maxRetries = 4

// receiveMessage decrypts a message and shows it, or asks for it again.
func (p *Phone) receiveMessage(n *node) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ctx := context.Background()
	sender := p.senderOf(n)
	if sender == nil {
		return // unlinked meanwhile, as on the real service
	}
	for _, enc := range n.GetChildrenByTag("enc") {
		plaintext, err := p.decrypt(ctx, n, sender, enc)
		switch {
		case errors.Is(err, signalerror.ErrOldCounter):
			// A real client drops it, and confirms it.
			p.count(func(c *Counters) { c.OldCounter++ })
			continue
		case err != nil:
			p.askAgain(ctx, n, sender)
			return
		}
		p.count(func(c *Counters) { c.Decrypted++ })
		p.take(ctx, n, sender, plaintext)
	}
	p.confirm(n, sender)
}

func (p *Phone) count(change func(*Counters)) {
	p.service.mu.Lock()
	defer p.service.mu.Unlock()
	change(&p.service.counts)
}

// senderOf finds the device a stanza comes from.
func (p *Phone) senderOf(n *node) *device {
	from := jidAttr(n, "from")
	if from.Server == types.GroupServer {
		from = jidAttr(n, "participant")
	}
	p.service.mu.Lock()
	defer p.service.mu.Unlock()
	return p.service.deviceLocked(from)
}

func (p *Phone) decrypt(ctx context.Context, n *node, sender *device, enc node) (*waE2E.Message, error) {
	address := sender.address(types.HiddenUserServer).SignalAddress()
	serializer := store.SignalProtobufSerializer
	var padded []byte
	var err error
	switch kind := textAttr(&enc, "type"); kind {
	case "skmsg":
		padded, err = p.decryptGroup(ctx, jidAttr(n, "from"), address, bytesOf(enc))
	case "pkmsg":
		var m *protocol.PreKeySignalMessage
		if m, err = protocol.NewPreKeySignalMessageFromBytes(bytesOf(enc), serializer.PreKeySignalMessage, serializer.SignalMessage); err == nil {
			padded, err = p.cipher(address).DecryptMessage(ctx, m)
		}
	case "msg":
		var m *protocol.SignalMessage
		if m, err = protocol.NewSignalMessageFromBytes(bytesOf(enc), serializer.SignalMessage); err == nil {
			padded, err = p.cipher(address).Decrypt(ctx, m)
		}
	default:
		err = fmt.Errorf("unknown kind of ciphertext %q", kind)
	}
	if err != nil {
		return nil, err
	}
	return unpad(padded)
}

func (p *Phone) cipher(address *protocol.SignalAddress) *session.Cipher {
	return session.NewCipher(session.NewBuilderFromSignal(p.signal, address, store.SignalProtobufSerializer), address)
}

func (p *Phone) decryptGroup(ctx context.Context, group types.JID, sender *protocol.SignalAddress, ciphertext []byte) ([]byte, error) {
	serializer := store.SignalProtobufSerializer
	m, err := protocol.NewSenderKeyMessageFromBytes(ciphertext, serializer.SenderKeyMessage)
	if err != nil {
		return nil, err
	}
	name := protocol.NewSenderKeyName(group.String(), sender)
	return groups.NewGroupCipher(groups.NewGroupSessionBuilder(p.signal, serializer), name, p.signal).Decrypt(ctx, m)
}

func unpad(plaintext []byte) (*waE2E.Message, error) {
	if len(plaintext) == 0 {
		return nil, errors.New("empty plaintext")
	}
	last := plaintext[len(plaintext)-1]
	pad := bytes.Repeat([]byte{last}, int(last))
	if last == 0 || !bytes.HasSuffix(plaintext, pad) {
		return nil, errors.New("wrong padding")
	}
	var m waE2E.Message
	if err := proto.Unmarshal(plaintext[:len(plaintext)-len(pad)], &m); err != nil {
		return nil, fmt.Errorf("decode message: %w", err)
	}
	return &m, nil
}

// take acts on a decrypted message.
func (p *Phone) take(ctx context.Context, n *node, sender *device, m *waE2E.Message) {
	if distribution := m.GetSenderKeyDistributionMessage(); distribution != nil {
		p.learnSenderKey(ctx, sender, distribution)
	}
	if wrapped := m.GetDeviceSentMessage(); wrapped != nil {
		m = wrapped.GetMessage()
	}
	if textAttr(n, "category") == "peer" {
		p.answerPeer(ctx, sender, m, textAttr(n, "id"))
		return
	}
	rest := proto.Clone(m).(*waE2E.Message)
	rest.SenderKeyDistributionMessage, rest.MessageContextInfo = nil, nil
	if proto.Size(rest) == 0 {
		return // nothing but a sender key
	}
	p.show(n, sender, m)
}

func (p *Phone) learnSenderKey(ctx context.Context, sender *device, distribution *waE2E.SenderKeyDistributionMessage) {
	serializer := store.SignalProtobufSerializer
	m, err := protocol.NewSenderKeyDistributionMessageFromBytes(
		distribution.GetAxolotlSenderKeyDistributionMessage(), serializer.SenderKeyDistributionMessage)
	if err != nil {
		return // the group message that needs it will be asked for again
	}
	name := protocol.NewSenderKeyName(distribution.GetGroupID(), sender.address(types.HiddenUserServer).SignalAddress())
	// The memory store does not fail.
	_ = groups.NewGroupSessionBuilder(p.signal, serializer).Process(ctx, name, m)
}

// show puts a message on the screen, once for each id.
func (p *Phone) show(n *node, sender *device, m *waE2E.Message) {
	text := m.GetConversation()
	if text == "" {
		text = m.GetExtendedTextMessage().GetText()
	}
	r := Received{
		ID: textAttr(n, "id"), Chat: jidAttr(n, "from").ToNonAD(), Sender: jidAttr(n, "from"), PushName: textAttr(n, "notify"),
		SenderPN: sender.account.pn, SenderLID: sender.account.lid, FromMe: sender.account == p.account,
		Text: text, Time: time.Now(), Message: m,
	}
	if participant := jidAttr(n, "participant"); !participant.IsEmpty() {
		r.Sender = participant
	}
	if recipient := jidAttr(n, "recipient"); !recipient.IsEmpty() {
		r.Chat = recipient
	}
	s := p.service
	s.mu.Lock()
	defer s.mu.Unlock()
	key := sender.account.lid.User + " " + r.ID
	if p.shown[key] {
		s.counts.Suppressed++
		return
	}
	p.shown[key] = true
	p.messages = append(p.messages, r)
	s.shownLocked(p.account.devices[0], sender.account, r.Chat, r.ID, text)
}

// confirm sends the receipt for a message that was handled.
func (p *Phone) confirm(n *node, sender *device) {
	receipt := p.receiptFor(n)
	if sender.account == p.account {
		receipt.Attrs["type"] = string(types.ReceiptTypeSender)
		if textAttr(n, "category") == "peer" {
			receipt.Attrs["type"] = string(types.ReceiptTypePeerMsg)
		}
	}
	p.sendReceipt(receipt)
}

// MarkRead sends a read receipt for a message the phone showed.
func (p *Phone) MarkRead(_ context.Context, r Received) {
	receipt := node{Tag: "receipt", Attrs: attrs{"id": r.ID, "to": r.Chat, "type": string(types.ReceiptTypeRead)}}
	if r.Chat.Server == types.GroupServer {
		receipt.Attrs["participant"] = r.Sender.ToNonAD()
	}
	p.sendReceipt(receipt)
}

func (p *Phone) receiptFor(n *node) node {
	a := copyAttrs(n.Attrs, "id", "participant", "recipient")
	a["to"] = n.Attrs["from"]
	return node{Tag: "receipt", Attrs: a}
}

func (p *Phone) sendReceipt(receipt node) {
	s := p.service
	s.mu.Lock()
	defer s.mu.Unlock()
	s.receiptLocked(p.account.devices[0], &receipt)
}

// askAgain sends a retry receipt; from the second for a message on it carries
// keys to open a new session with.
func (p *Phone) askAgain(ctx context.Context, n *node, sender *device) {
	key := sender.address(types.HiddenUserServer).String() + " " + textAttr(n, "id")
	p.retries[key]++
	count := p.retries[key]
	if count > maxRetries {
		return
	}
	receipt := p.receiptFor(n)
	receipt.Attrs["type"] = string(types.ReceiptTypeRetry)
	content := []node{
		{Tag: "retry", Attrs: attrs{"count": strconv.Itoa(count), "id": textAttr(n, "id"), "t": textAttr(n, "t"), "v": "1"}},
		{Tag: "registration", Content: uint32Bytes(p.signal.RegistrationID)},
	}
	if count > 1 {
		// The memory store does not fail.
		made, _ := p.keys.GenOnePreKey(ctx)
		own := p.bundle()
		content = append(content, node{Tag: "keys", Content: append(
			own.common()[1:], oneTimeKey{id: made.KeyID, public: *made.Pub}.node(), own.signed.node())})
	}
	receipt.Content = content
	p.sendReceipt(receipt)
}

// receiveReceipt notes a receipt and answers a request to send again.
func (p *Phone) receiveReceipt(n *node) {
	p.noteReceipt(n)
	if textAttr(n, "type") != string(types.ReceiptTypeRetry) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	asking := p.senderOf(n)
	retry := n.GetChildByTag("retry")
	sent, ok := p.sent[textAttr(&retry, "id")]
	if p.silent || asking == nil || !ok {
		return
	}
	// What keeps a phone from answering keeps the message from coming: the
	// ledger shows it.
	_ = p.repeat(context.Background(), n, asking, sent)
}

func (p *Phone) noteReceipt(n *node) {
	r := Receipt{
		ID: textAttr(n, "id"), From: jidAttr(n, "from"), Chat: jidAttr(n, "from").ToNonAD(), Type: types.ReceiptType(textAttr(n, "type")),
	}
	if participant := jidAttr(n, "participant"); !participant.IsEmpty() {
		r.From = participant
	}
	list := n.GetChildByTag("list")
	s := p.service
	s.mu.Lock()
	defer s.mu.Unlock()
	p.receipts = append(p.receipts, r)
	for _, item := range list.GetChildrenByTag("item") {
		r.ID = textAttr(&item, "id")
		p.receipts = append(p.receipts, r)
	}
	s.notifyLocked()
}

// repeat encrypts a message again for the one device that could not read it.
func (p *Phone) repeat(ctx context.Context, n *node, asking *device, sent sentMessage) error {
	message := proto.Clone(sent.message).(*waE2E.Message)
	group := sent.to.Server == types.GroupServer
	switch {
	case group:
		distribution, err := p.senderKey(ctx, sent.to)
		if err != nil {
			return err
		}
		message.SenderKeyDistributionMessage = distribution
	case asking.account == p.account:
		message = &waE2E.Message{DeviceSentMessage: &waE2E.DeviceSentMessage{
			DestinationJID: new(sent.to.String()), Message: message,
		}}
	}
	enc, err := p.encryptAgain(ctx, n, asking, message)
	if err != nil {
		return err
	}
	retry := n.GetChildByTag("retry")
	enc.Attrs["count"] = textAttr(&retry, "count")
	a := attrs{"id": textAttr(&retry, "id"), "type": "text", "to": jidAttr(n, "from")}
	if group {
		a["participant"] = jidAttr(n, "participant")
	} else {
		a["device_fanout"] = "false"
	}
	if recipient := jidAttr(n, "recipient"); !recipient.IsEmpty() {
		a["recipient"] = recipient
	}
	return p.submit(&node{Tag: "message", Attrs: a, Content: []node{enc}})
}

func (p *Phone) encryptAgain(ctx context.Context, n *node, asking *device, message *waE2E.Message) (node, error) {
	if sent, ok := n.GetOptionalChildByTag("keys"); ok {
		return p.encryptWith(ctx, asking.address(types.HiddenUserServer), message, receiptBundle(n, sent, asking.id))
	}
	retry := n.GetChildByTag("retry")
	count, err := strconv.Atoi(textAttr(&retry, "count"))
	return p.encrypt(ctx, asking, message, err == nil && count > 1)
}

// receiptBundle reads the keys that came with a retry receipt.
func receiptBundle(n *node, sent node, device uint16) *prekey.Bundle {
	var b bundle
	if registration := childBytes(n, "registration"); len(registration) == 4 {
		b.registration = binary.BigEndian.Uint32(registration)
	}
	copy(b.identity[:], childBytes(&sent, "identity"))
	b.setSigned(sent.GetChildByTag("skey"))
	key, withKey := sent.GetOptionalChildByTag("key")
	one := oneTimeKey{id: keyID(childBytes(&key, "id"))}
	copy(one.public[:], childBytes(&key, "value"))
	return b.preKeyBundle(device, one, withKey)
}

// answerPeer serves a linked device's requests: it sends along the messages
// the device could not read, if the phone has them.
func (p *Phone) answerPeer(ctx context.Context, asking *device, m *waE2E.Message, id string) {
	request := m.GetProtocolMessage().GetPeerDataOperationRequestMessage()
	if p.silent || request.GetPeerDataOperationRequestType() != waE2E.PeerDataOperationRequestType_PLACEHOLDER_MESSAGE_RESEND {
		return
	}
	var results []*waE2E.PeerDataOperationRequestResponseMessage_PeerDataOperationResult
	for _, wanted := range request.GetPlaceholderMessageResendRequest() {
		raw := p.webMessage(wanted.GetMessageKey())
		if raw == nil {
			return
		}
		results = append(results, &waE2E.PeerDataOperationRequestResponseMessage_PeerDataOperationResult{
			PlaceholderMessageResendResponse: &waE2E.PeerDataOperationRequestResponseMessage_PeerDataOperationResult_PlaceholderMessageResendResponse{
				WebMessageInfoBytes: raw,
			},
		})
	}
	answer := &waE2E.Message{ProtocolMessage: &waE2E.ProtocolMessage{
		Type: waE2E.ProtocolMessage_PEER_DATA_OPERATION_REQUEST_RESPONSE_MESSAGE.Enum(),
		PeerDataOperationRequestResponseMessage: &waE2E.PeerDataOperationRequestResponseMessage{
			PeerDataOperationRequestType: request.PeerDataOperationRequestType, StanzaID: new(id),
			PeerDataOperationResult: results,
		},
	}}
	enc, err := p.encrypt(ctx, asking, answer, false)
	if err != nil {
		return // as if the phone were away
	}
	// A device that is gone needs no answer.
	_ = p.submit(&node{
		Tag: "message",
		Attrs: attrs{
			"id": "3EB0" + strconv.FormatInt(time.Now().UnixNano(), 16), "type": "text", "category": "peer",
			"to": asking.address(types.DefaultUserServer),
		},
		Content: []node{enc},
	})
}

// webMessage is a message the phone showed, in the form of history.
func (p *Phone) webMessage(key *waCommon.MessageKey) []byte {
	s := p.service
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range p.messages {
		if r.ID != key.GetID() {
			continue
		}
		raw, err := proto.Marshal(&waWeb.WebMessageInfo{
			Key: key, Message: r.Message, MessageTimestamp: new(uint64(r.Time.Unix())),
			PushName: new(r.PushName), Participant: key.Participant,
		})
		if err != nil {
			return nil
		}
		return raw
	}
	return nil
}
