package watest

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.mau.fi/libsignal/ecc"
	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/proto/waAdv"
	"go.mau.fi/whatsmeow/proto/waWa6"
	"go.mau.fi/whatsmeow/types"
	"google.golang.org/protobuf/proto"
)

// Errors of pairing.
var (
	ErrBadQR         = errors.New("not a pairing QR code")
	ErrQRNotLive     = errors.New("no client shows this QR code")
	ErrNoCodeRequest = errors.New("no client asks to pair by code with this number")
	ErrWrongCode     = errors.New("wrong pairing code")
	ErrPairRefused   = errors.New("client refused to pair")
	ErrPasskey       = errors.New("phone asks for the account's passkey first")
)

// refCount is how many QR codes a client gets to show, one after the other.
const refCount = 6

// pairing is what a socket without a device knows of its client.
type pairing struct {
	refs []string
	busy bool // a phone is linking this client, or has
	data *waWa6.ClientPayload_DevicePairingRegistrationData
}

// greetPairing offers the references for QR codes.
func (s *Service) greetPairing(c *conn, data *waWa6.ClientPayload_DevicePairingRegistrationData) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.pairing = &pairing{data: data}
	children := make([]node, refCount)
	for i := range children {
		ref := "2@" + rand.Text()
		c.pairing.refs = append(c.pairing.refs, ref)
		s.refs[ref] = c
		children[i] = node{Tag: "ref", Content: []byte(ref)}
	}
	c.send(node{
		Tag:     "iq",
		Attrs:   attrs{"type": "set", "xmlns": "md", "from": types.ServerJID, "id": s.nextIDLocked()},
		Content: []node{{Tag: "pair-device", Content: children}},
	})
	s.notifyLocked()
}

// ScanQR links the client that shows a QR code. text is the code's content as
// the client made it; the result is the new device's phone-number JID. It
// returns once the client has confirmed and has been told to connect again.
func (p *Phone) ScanQR(ctx context.Context, text string) (types.JID, error) {
	ref, noiseKey, identity, adv, err := parseQR(text)
	if err != nil {
		return types.JID{}, err
	}
	s := p.service
	s.mu.Lock()
	c := s.refs[ref]
	s.mu.Unlock()
	if c == nil {
		return types.JID{}, ErrQRNotLive
	}
	if c.static != noiseKey || string(c.pairing.data.GetEIdent()) != string(identity) {
		return types.JID{}, fmt.Errorf("%w: its keys are not the client's", ErrBadQR)
	}
	return s.link(ctx, p.account, c, adv)
}

// parseQR reads ref, Noise key, identity key and adv secret; clients may put a
// URL before them and more fields after them.
func parseQR(text string) (ref string, noiseKey [32]byte, identity, adv []byte, err error) {
	if _, fragment, ok := strings.Cut(text, "#"); ok {
		text = fragment
	}
	fields := strings.Split(text, ",")
	if len(fields) < 4 {
		return "", noiseKey, nil, nil, ErrBadQR
	}
	var parts [3][]byte
	for i := range parts {
		if parts[i], err = base64.StdEncoding.DecodeString(fields[i+1]); err != nil || len(parts[i]) != 32 {
			return "", noiseKey, nil, nil, ErrBadQR
		}
	}
	return fields[0], [32]byte(parts[0]), parts[1], parts[2], nil
}

// link runs pair-success with a client and registers its device.
func (s *Service) link(ctx context.Context, a *account, c *conn, advSecret []byte) (types.JID, error) {
	data := c.pairing.data
	d, err := s.beginLink(a, c)
	if err != nil {
		return types.JID{}, err
	}
	answer, err := s.offerPairing(ctx, c, d, data.GetEIdent(), advSecret)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		err = d.register(data, answer)
	}
	if err != nil {
		c.pairing.busy = false
		return types.JID{}, err
	}
	a.devices[d.id] = d
	s.counts.Pairings++
	c.sendLast(node{Tag: "stream:error", Attrs: attrs{"code": "515"}})
	s.devicesChangedLocked(a)
	s.notifyLocked()
	return d.address(types.DefaultUserServer), nil
}

// beginLink makes a device for a client that no other phone is linking.
func (s *Service) beginLink(a *account, c *conn) (*device, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.pairing.busy {
		return nil, ErrQRNotLive
	}
	if a.passkey {
		c.send(passkeyRequest(s.nextIDLocked()))
		return nil, ErrPasskey
	}
	id, err := a.freeDevice()
	if err != nil {
		return nil, err
	}
	c.pairing.busy = true
	return &device{account: a, id: id, noise: c.static, open: make(map[*conn]struct{})}, nil
}

// passkeyRequest asks a client for a WebAuthn assertion before it is linked.
func passkeyRequest(id string) node {
	options := `{"challenge":"AAECAwQFBgcICQoLDA0ODw","timeout":60000,"rpId":"whatsapp.com","allowCredentials":[],"userVerification":"required"}`
	return node{
		Tag: "notification",
		Attrs: attrs{
			"type": "passkey_prologue_request", "from": types.ServerJID, "id": id, "t": now(),
		},
		Content: []node{{Tag: "passkey_request_options", Content: []byte(options)}},
	}
}

// RequirePasskey makes the account one that is protected by a passkey: clients
// that try to link are asked for it, which no simulated phone can answer, and
// [Phone.ScanQR] and [Phone.EnterCode] return [ErrPasskey].
func (p *Phone) RequirePasskey(required bool) {
	p.service.mu.Lock()
	defer p.service.mu.Unlock()
	p.account.passkey = required
}

// offerPairing sends pair-success and returns the client's signed identity.
func (s *Service) offerPairing(ctx context.Context, c *conn, d *device, identity, advSecret []byte) (*waAdv.ADVSignedDeviceIdentity, error) {
	signed, container, err := d.account.phone.vouch(d, identity, advSecret)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	id := s.nextIDLocked()
	reply := make(chan *node, 1)
	c.replies[id] = reply
	s.mu.Unlock()
	c.send(node{
		Tag: "iq", Attrs: attrs{"type": "set", "xmlns": "md", "from": types.ServerJID, "id": id, "t": now()},
		Content: []node{{Tag: "pair-success", Content: []node{
			{Tag: "device-identity", Content: container},
			{Tag: "biz", Attrs: attrs{"name": ""}},
			{Tag: "device", Attrs: attrs{
				"jid": d.address(types.DefaultUserServer), "lid": d.address(types.HiddenUserServer),
			}},
			{Tag: "platform", Attrs: attrs{"name": "android"}},
		}}},
	})
	select {
	case answer := <-reply:
		return checkPairReply(answer, signed, identity)
	case <-c.done:
		return nil, fmt.Errorf("%w: it closed the connection", ErrPairRefused)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// vouch signs a device's identity as this account's phone.
func (p *Phone) vouch(d *device, identity, advSecret []byte) (signed *waAdv.ADVSignedDeviceIdentity, container []byte, err error) {
	details, err := proto.Marshal(&waAdv.ADVDeviceIdentity{
		RawID: new(p.signal.RegistrationID), Timestamp: new(uint64(time.Now().Unix())),
		KeyIndex: new(uint32(d.id)),
	})
	if err != nil {
		return nil, nil, fmt.Errorf("encode device identity: %w", err)
	}
	key := p.signal.IdentityKey
	signature := ecc.CalculateSignature(ecc.NewDjbECPrivateKey(*key.Priv),
		slices.Concat(whatsmeow.AdvAccountSignaturePrefix, details, identity))
	signed = &waAdv.ADVSignedDeviceIdentity{
		Details: details, AccountSignatureKey: key.Pub[:], AccountSignature: signature[:],
	}
	raw, err := proto.Marshal(signed)
	if err != nil {
		return nil, nil, fmt.Errorf("encode signed device identity: %w", err)
	}
	mac := hmac.New(sha256.New, advSecret)
	mac.Write(raw)
	container, err = proto.Marshal(&waAdv.ADVSignedDeviceIdentityHMAC{Details: raw, HMAC: mac.Sum(nil)})
	return signed, container, err
}

// checkPairReply verifies what the client signed in return.
func checkPairReply(answer *node, signed *waAdv.ADVSignedDeviceIdentity, identity []byte) (*waAdv.ADVSignedDeviceIdentity, error) {
	if textAttr(answer, "type") != "result" {
		return nil, ErrPairRefused
	}
	sign, ok := answer.GetOptionalChildByTag("pair-device-sign", "device-identity")
	if !ok {
		return nil, fmt.Errorf("%w: no device identity in its answer", ErrPairRefused)
	}
	var theirs waAdv.ADVSignedDeviceIdentity
	if err := proto.Unmarshal(bytesOf(sign), &theirs); err != nil {
		return nil, fmt.Errorf("read device identity: %w", err)
	}
	message := slices.Concat(whatsmeow.AdvDeviceSignaturePrefix, signed.Details, identity, signed.AccountSignatureKey)
	if len(theirs.GetDeviceSignature()) != 64 || len(identity) != 32 ||
		!ecc.VerifySignature(ecc.NewDjbECPublicKey([32]byte(identity)), message, [64]byte(theirs.DeviceSignature)) {
		return nil, fmt.Errorf("%w: its signature does not hold", ErrPairRefused)
	}
	complete := proto.Clone(signed).(*waAdv.ADVSignedDeviceIdentity)
	complete.DeviceSignature = theirs.DeviceSignature
	return complete, nil
}

// register takes over the keys a client brought along when it paired.
func (d *device) register(data *waWa6.ClientPayload_DevicePairingRegistrationData, signed *waAdv.ADVSignedDeviceIdentity) error {
	registration, skeyID := data.GetERegid(), data.GetESkeyID()
	if len(registration) != 4 || len(data.GetEIdent()) != 32 || len(skeyID) != 3 ||
		len(data.GetESkeyVal()) != 32 || len(data.GetESkeySig()) != 64 {
		return fmt.Errorf("%w: malformed registration data", ErrPairRefused)
	}
	d.signed = signed
	d.info.Linked = true
	d.bundle = bundle{
		registration: binary.BigEndian.Uint32(registration),
		identity:     [32]byte(data.GetEIdent()),
		signed: signedKey{
			id: keyID(skeyID), public: [32]byte(data.GetESkeyVal()), signature: [64]byte(data.GetESkeySig()),
		},
	}
	return nil
}

// devicesChangedLocked tells everybody who may have cached an account's
// device list, the account's own devices first.
func (s *Service) devicesChangedLocked(a *account) {
	devices := a.sorted()
	for _, server := range []string{types.DefaultUserServer, types.HiddenUserServer} {
		list := node{Tag: "devices"}
		var children []node
		var jids []types.JID
		for _, d := range devices {
			jid := d.address(server)
			jids = append(jids, jid)
			children = append(children, node{Tag: "device", Attrs: attrs{"jid": jid, "key-index": strconv.Itoa(int(d.id))}})
		}
		list.Attrs, list.Content = attrs{"dhash": deviceHash(jids)}, children
		for _, d := range devices {
			if !d.isPhone() {
				s.notificationLocked(d, "account_sync", a.address(server), list)
			}
		}
	}
	for watcher := range a.watchers {
		if watcher == a {
			continue
		}
		for _, d := range watcher.devices {
			if !d.isPhone() {
				for _, server := range []string{types.DefaultUserServer, types.HiddenUserServer} {
					s.notificationLocked(d, "devices", a.address(server), node{Tag: "update", Attrs: attrs{"device_hash": "2:changed"}})
				}
			}
		}
	}
}

// notificationLocked queues a notification for a device.
func (s *Service) notificationLocked(d *device, kind string, from types.JID, children ...node) {
	s.pushLocked(d, node{
		Tag: "notification", Attrs: attrs{"type": kind, "from": from, "id": s.nextIDLocked(), "t": now()},
		Content: children,
	})
}

// deviceHash is the hash clients keep of a device list.
func deviceHash(jids []types.JID) string {
	names := make([]string, len(jids))
	for i, jid := range jids {
		names[i] = jid.ADString()
	}
	slices.Sort(names)
	sum := sha256.Sum256([]byte(strings.Join(names, "")))
	return "2:" + base64.RawStdEncoding.EncodeToString(sum[:6])
}
