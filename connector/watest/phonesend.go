package watest

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"

	"go.mau.fi/libsignal/groups"
	"go.mau.fi/libsignal/keys/prekey"
	"go.mau.fi/libsignal/protocol"
	"go.mau.fi/libsignal/session"
	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/types"
	"google.golang.org/protobuf/proto"
)

// SendText sends a text to an account or a group. The address decides what is
// on the wire: a LID, as clients use it today, or a phone number. The account's
// own linked devices get their copies.
func (p *Phone) SendText(ctx context.Context, to types.JID, text string) (types.MessageID, error) {
	return p.Send(ctx, to, &waE2E.Message{Conversation: new(text)})
}

// Send sends any message; see [Phone.SendText].
func (p *Phone) Send(ctx context.Context, to types.JID, message *waE2E.Message) (types.MessageID, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	id := "3EB0" + strings.ToUpper(hex.EncodeToString(randomBytes(9)))
	n := &node{Tag: "message", Attrs: attrs{"id": id, "to": to.ToNonAD(), "type": "text"}}
	var err error
	if to.Server == types.GroupServer {
		n.Content, err = p.groupContent(ctx, to, message)
	} else {
		n.Content, err = p.directContent(ctx, to.ToNonAD(), message)
	}
	if err != nil {
		return "", err
	}
	p.sent[id] = sentMessage{to: to.ToNonAD(), message: message}
	return id, p.submit(n)
}

// submit hands a message to the service as if it had come over a socket.
func (p *Phone) submit(n *node) error {
	s := p.service
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	d := p.account.devices[0]
	s.observeLocked(d, n)
	for _, answer := range s.acceptLocked(d, n) {
		if code := textAttr(&answer, "error"); code != "" {
			return fmt.Errorf("%w: %s", ErrNotAcceptable, code)
		}
	}
	return nil
}

// directContent encrypts a 1:1 message for the peer's devices, and wrapped for
// the account's own.
func (p *Phone) directContent(ctx context.Context, to types.JID, message *waE2E.Message) ([]node, error) {
	s := p.service
	s.mu.Lock()
	peer := s.accountLocked(to)
	var theirs []*device
	if peer != nil && peer != p.account {
		theirs = peer.sorted()
		peer.watchers[p.account] = struct{}{}
	}
	own := p.account.sorted()[1:]
	s.mu.Unlock()
	if peer == nil {
		return nil, fmt.Errorf("%w: %s", ErrNoAccount, to)
	}
	wrapped := &waE2E.Message{DeviceSentMessage: &waE2E.DeviceSentMessage{
		DestinationJID: new(to.String()), Message: message,
	}}
	var copies []node
	for _, part := range []struct {
		devices []*device
		message *waE2E.Message
	}{{theirs, message}, {own, wrapped}} {
		more, err := p.copiesFor(ctx, to, part.devices, part.message)
		if err != nil {
			return nil, err
		}
		copies = append(copies, more...)
	}
	return []node{{Tag: "participants", Content: copies}}, nil
}

func (p *Phone) copiesFor(ctx context.Context, to types.JID, devices []*device, message *waE2E.Message) ([]node, error) {
	copies := make([]node, 0, len(devices))
	for _, d := range devices {
		enc, err := p.encrypt(ctx, d, message, false)
		if err != nil {
			return nil, err
		}
		copies = append(copies, node{Tag: "to", Attrs: attrs{"jid": d.address(addressServer(to))}, Content: []node{enc}})
	}
	return copies, nil
}

// groupContent encrypts a message with the phone's sender key, and the sender
// key for every other device in the group.
func (p *Phone) groupContent(ctx context.Context, to types.JID, message *waE2E.Message) ([]node, error) {
	s := p.service
	s.mu.Lock()
	g := s.groups[to]
	if g == nil || !g.has(p.account) {
		s.mu.Unlock()
		return nil, fmt.Errorf("%w: %s", ErrNoSuchGroup, to)
	}
	devices, address := g.devices(), types.JID{Server: g.server()}
	s.mu.Unlock()
	distribution, err := p.senderKey(ctx, to)
	if err != nil {
		return nil, err
	}
	var others []*device
	for _, d := range devices {
		if d.account != p.account || !d.isPhone() {
			others = append(others, d)
		}
	}
	copies, err := p.copiesFor(ctx, address, others, &waE2E.Message{SenderKeyDistributionMessage: distribution})
	if err != nil {
		return nil, err
	}
	plaintext, err := padded(message)
	if err != nil {
		return nil, err
	}
	builder := groups.NewGroupSessionBuilder(p.signal, store.SignalProtobufSerializer)
	sealed, err := groups.NewGroupCipher(builder, p.senderKeyName(to), p.signal).Encrypt(ctx, plaintext)
	if err != nil {
		return nil, fmt.Errorf("encrypt group message: %w", err)
	}
	return []node{
		{Tag: "participants", Content: copies},
		{Tag: "enc", Attrs: attrs{"v": "2", "type": "skmsg"}, Content: sealed.SignedSerialize()},
	}, nil
}

func (p *Phone) senderKeyName(group types.JID) *protocol.SenderKeyName {
	return protocol.NewSenderKeyName(group.String(), p.account.lid.SignalAddress())
}

// senderKey is what others need to read the phone's messages in a group.
func (p *Phone) senderKey(ctx context.Context, group types.JID) (*waE2E.SenderKeyDistributionMessage, error) {
	builder := groups.NewGroupSessionBuilder(p.signal, store.SignalProtobufSerializer)
	message, err := builder.Create(ctx, p.senderKeyName(group))
	if err != nil {
		return nil, fmt.Errorf("make sender key: %w", err)
	}
	return &waE2E.SenderKeyDistributionMessage{
		GroupID: new(group.String()), AxolotlSenderKeyDistributionMessage: message.Serialize(),
	}, nil
}

// encrypt encrypts for one device, opening a session if there is none or if
// renew is set.
func (p *Phone) encrypt(ctx context.Context, d *device, message *waE2E.Message, renew bool) (node, error) {
	var fetched *prekey.Bundle
	address := d.address(types.HiddenUserServer)
	has, err := p.signal.ContainsSession(ctx, address.SignalAddress())
	if err != nil {
		return node{}, err
	}
	if !has || renew {
		s := p.service
		s.mu.Lock()
		key, withKey := s.oneTimeLocked(p.account.devices[0], d)
		fetched = d.bundle.preKeyBundle(d.id, key, withKey)
		s.mu.Unlock()
	}
	return p.encryptWith(ctx, address, message, fetched)
}

// encryptWith encrypts for the device at address, in a new session if a bundle
// is given.
func (p *Phone) encryptWith(ctx context.Context, address types.JID, message *waE2E.Message, fetched *prekey.Bundle) (node, error) {
	plaintext, err := padded(message)
	if err != nil {
		return node{}, err
	}
	builder := session.NewBuilderFromSignal(p.signal, address.SignalAddress(), store.SignalProtobufSerializer)
	if fetched != nil {
		if err := builder.ProcessBundle(ctx, fetched); err != nil {
			return node{}, fmt.Errorf("open session with %s: %w", address, err)
		}
	}
	sealed, err := session.NewCipher(builder, address.SignalAddress()).Encrypt(ctx, plaintext)
	if err != nil {
		return node{}, fmt.Errorf("encrypt for %s: %w", address, err)
	}
	kind := "msg"
	if sealed.Type() == protocol.PREKEY_TYPE {
		kind = "pkmsg"
	}
	return node{Tag: "enc", Attrs: attrs{"v": "2", "type": kind}, Content: sealed.Serialize()}, nil
}

// padded is a message as it is encrypted: followed by 1 to 15 bytes, each
// holding their number.
func padded(message *waE2E.Message) ([]byte, error) {
	raw, err := proto.Marshal(message)
	if err != nil {
		return nil, fmt.Errorf("encode message: %w", err)
	}
	pad := 1 + rand.IntN(15) //nolint:gosec // a length that nobody needs to be unable to guess
	return append(raw, bytes.Repeat([]byte{byte(pad)}, pad)...), nil
}

// CreateGroup makes a group of this phone and members. Its participants go by
// their LIDs, as in all groups made today.
func (p *Phone) CreateGroup(ctx context.Context, members ...types.JID) (types.JID, error) {
	return p.CreateGroupAddressed(ctx, types.AddressingModeLID, members...)
}

// CreateGroupAddressed makes a group whose participants go by their LIDs or,
// as in old groups, by their phone numbers.
func (p *Phone) CreateGroupAddressed(_ context.Context, mode types.AddressingMode, members ...types.JID) (types.JID, error) {
	s := p.service
	s.mu.Lock()
	defer s.mu.Unlock()
	accounts := make([]*account, len(members))
	for i, member := range members {
		if accounts[i] = s.accountLocked(member); accounts[i] == nil {
			return types.JID{}, fmt.Errorf("%w: %s", ErrNoAccount, member)
		}
	}
	return s.newGroupLocked(p.account.devices[0], "group", mode, accounts).jid, nil
}
