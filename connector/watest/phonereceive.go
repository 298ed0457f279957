package watest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"go.mau.fi/libsignal/groups"
	"go.mau.fi/libsignal/protocol"
	"go.mau.fi/libsignal/signalerror"
	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/types"
	"google.golang.org/protobuf/proto"
)

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
	var padded []byte
	var err error
	switch kind := textAttr(&enc, "type"); kind {
	case "skmsg":
		padded, err = p.decryptGroup(ctx, jidAttr(n, "from"), address, bytesOf(enc))
	case "pkmsg", "msg":
		padded, err = p.decryptPairwise(ctx, address, kind, bytesOf(enc))
	default:
		err = fmt.Errorf("unknown kind of ciphertext %q", kind)
	}
	if err != nil {
		return nil, err
	}
	return unpad(padded)
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
