package watest

import (
	"context"
	"encoding/binary"
	"strconv"

	"go.mau.fi/libsignal/keys/prekey"
	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/types"
	"google.golang.org/protobuf/proto"
)

// maxRetries is how often a phone asks for the same message again.
const maxRetries = 4

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
