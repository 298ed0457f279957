package whatsapp

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"go.mau.fi/libsignal/ecc"
	"go.mau.fi/libsignal/keys/identity"
	"go.mau.fi/libsignal/keys/prekey"
	"go.mau.fi/libsignal/protocol"
	"go.mau.fi/libsignal/session"
	"go.mau.fi/libsignal/util/optional"
	"go.mau.fi/whatsmeow/proto/waAdv"
	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/types"

	"cloudsession/connector/capture"
)

// party is one side of a conversation, with a real store.
type party struct {
	t       *testing.T
	device  *store.Device
	address *protocol.SignalAddress
	resets  int
}

func newParty(t *testing.T, user string) *party {
	t.Helper()
	file, err := capture.Open(t.Context(), filepath.Join(t.TempDir(), user+".db"), capture.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	})
	s, err := Open(t.Context(), Config{SessionID: user, File: file, Endpoint: testEndpoint})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.cancel)
	p := &party{t: t, device: s.device}
	s.guard.reset = func(string) { p.resets++ }
	jid := types.JID{User: user, Server: types.DefaultUserServer, Device: 3}
	p.device.ID, p.device.Account = &jid, &waAdv.ADVSignedDeviceIdentity{
		Details: []byte{1}, AccountSignatureKey: make([]byte, 32), AccountSignature: make([]byte, 64), DeviceSignature: make([]byte, 64),
	}
	if err := p.device.Save(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, guarded := p.device.Sessions.(*guardedStore); !guarded {
		t.Fatal("the stores of a newly linked device aren't guarded")
	}
	p.address = jid.SignalAddress()
	return p
}

func (p *party) bundle() *prekey.Bundle {
	p.t.Helper()
	list, err := p.device.PreKeys.GetOrGenPreKeys(p.t.Context(), 1)
	if err != nil {
		p.t.Fatal(err)
	}
	signed := p.device.SignedPreKey
	return prekey.NewBundle(p.device.RegistrationID, p.address.DeviceID(), optional.NewOptionalUint32(list[0].KeyID), signed.KeyID,
		ecc.NewDjbECPublicKey(*list[0].Pub), ecc.NewDjbECPublicKey(*signed.Pub), *signed.Signature,
		identity.NewKey(ecc.NewDjbECPublicKey(*p.device.IdentityKey.Pub)))
}

func (p *party) cipher(to *party) *session.Cipher {
	builder := session.NewBuilderFromSignal(p.device, to.address, store.SignalProtobufSerializer)
	return session.NewCipher(builder, to.address)
}

func (p *party) start(to *party) {
	p.t.Helper()
	builder := session.NewBuilderFromSignal(p.device, to.address, store.SignalProtobufSerializer)
	if err := builder.ProcessBundle(p.t.Context(), to.bundle()); err != nil {
		p.t.Fatal(err)
	}
}

func (p *party) encrypt(ctx context.Context, to *party, text string) []byte {
	p.t.Helper()
	message, err := p.cipher(to).Encrypt(ctx, []byte(text))
	if err != nil {
		p.t.Fatalf("encrypt %q: %v", text, err)
	}
	return message.Serialize()
}

// decrypt does as whatsmeow does: all in one transaction.
func (p *party) decrypt(from *party, data []byte, want string) {
	p.t.Helper()
	s := store.SignalProtobufSerializer
	var text []byte
	err := p.device.EventBuffer.DoDecryptionTxn(p.t.Context(), func(ctx context.Context) error {
		opening, err := protocol.NewPreKeySignalMessageFromBytes(data, s.PreKeySignalMessage, s.SignalMessage)
		if err == nil && opening.WhisperMessage() != nil {
			text, err = p.cipher(from).DecryptMessage(ctx, opening)
			return err
		}
		message, err := protocol.NewSignalMessageFromBytes(data, s.SignalMessage)
		if err != nil {
			return err
		}
		text, err = p.cipher(from).Decrypt(ctx, message)
		return err
	})
	if err != nil || string(text) != want {
		p.t.Fatalf("decrypt: %q, %v; want %q", text, err, want)
	}
}

// cached is the context of one of whatsmeow's sends: the session is read now, and written by save.
func (p *party) cached(to *party) (ctx context.Context, save func() error) {
	p.t.Helper()
	_, ctx, err := p.device.WithCachedSessions(p.t.Context(), []string{to.address.String()})
	if err != nil {
		p.t.Fatal(err)
	}
	return ctx, func() error { return p.device.PutCachedSessions(ctx) }
}

// conversation is two parties that have each written to the other.
func conversation(t *testing.T) (a, b *party) {
	t.Helper()
	a, b = newParty(t, "628111"), newParty(t, "628222")
	a.start(b)
	b.decrypt(a, a.encrypt(t.Context(), b, "hello"), "hello")
	a.decrypt(b, b.encrypt(t.Context(), a, "hello yourself"), "hello yourself")
	return a, b
}

func TestSecondWriteFromOneReading(t *testing.T) {
	a, b := conversation(t)
	ctx1, save1 := a.cached(b)
	ctx2, save2 := a.cached(b)
	one, _ := a.encrypt(ctx1, b, "one"), a.encrypt(ctx2, b, "two")
	if err := save1(); err != nil {
		t.Fatal(err)
	}
	if err := save2(); !errors.Is(err, ErrRatchet) {
		t.Fatalf("the same message key was used twice: %v", err)
	}
	b.decrypt(a, one, "one")
	ctx3, save3 := a.cached(b)
	two := a.encrypt(ctx3, b, "two")
	if err := save3(); err != nil {
		t.Fatalf("repeated: %v", err)
	}
	b.decrypt(a, two, "two")
	if a.resets != 1 {
		t.Errorf("%d resets: the attempt was not a send's", a.resets)
	}
}

// The failed attempt of a send is repeated by the send; no new connection is needed.
func TestSendRepeatsByItself(t *testing.T) {
	a, b := conversation(t)
	ctx1, save1 := a.cached(b)
	ctx2, _ := a.cached(b)
	trace := &sendTrace{}
	ctx2 = context.WithValue(ctx2, sending{}, trace)
	a.encrypt(ctx1, b, "one")
	a.encrypt(ctx2, b, "two")
	if err := save1(); err != nil {
		t.Fatal(err)
	}
	if err := a.device.PutCachedSessions(ctx2); !errors.Is(err, ErrRatchet) || !errors.Is(err, context.Canceled) {
		t.Fatalf("second write: %v", err)
	}
	if a.resets != 0 || len(trace.addresses) != 0 {
		t.Errorf("%d resets, written for %v", a.resets, trace.addresses)
	}
}

func TestReceivedWhileEncrypting(t *testing.T) {
	a, b := conversation(t)
	// Two messages of b in one chain: the first turns a's ratchet, the second doesn't.
	first, second, third := b.encrypt(t.Context(), a, "b1"), b.encrypt(t.Context(), a, "b2"), b.encrypt(t.Context(), a, "b3")
	a.decrypt(b, first, "b1")
	ctx, save := a.cached(b)
	one := a.encrypt(ctx, b, "a1")
	a.decrypt(b, second, "b2")
	if err := save(); err != nil {
		t.Fatalf("a message of the same chain came in between: %v", err)
	}
	b.decrypt(a, one, "a1")
	a.decrypt(b, third, "b3") // the receiving side was not set back
	b.decrypt(a, a.encrypt(t.Context(), b, "a2"), "a2")

	// A message that turns the ratchet.
	turning := b.encrypt(t.Context(), a, "b4")
	ctx, save = a.cached(b)
	a.encrypt(ctx, b, "a3")
	a.decrypt(b, turning, "b4")
	if err := save(); !errors.Is(err, ErrRatchet) {
		t.Fatalf("an old sender chain was written back: %v", err)
	}
	b.decrypt(a, a.encrypt(t.Context(), b, "a3 again"), "a3 again")
	a.decrypt(b, b.encrypt(t.Context(), a, "b5"), "b5")
}

func TestNewSessionOverOldOne(t *testing.T) {
	a, b := conversation(t)
	a.start(b) // archives the session
	b.decrypt(a, a.encrypt(t.Context(), b, "anew"), "anew")
	a.decrypt(b, b.encrypt(t.Context(), a, "fine"), "fine")

	ctx, save := a.cached(b)
	builder := session.NewBuilderFromSignal(a.device, b.address, store.SignalProtobufSerializer)
	if err := builder.ProcessBundle(ctx, b.bundle()); err != nil {
		t.Fatal(err)
	}
	a.encrypt(ctx, b, "lost")
	b.decrypt(a, a.encrypt(t.Context(), b, "meanwhile"), "meanwhile")
	if err := save(); !errors.Is(err, ErrRatchet) {
		t.Fatalf("a new session was built on an old state: %v", err)
	}
}

// A session that was deleted, or moved to another address, while a message was encrypted with it doesn't come back.
func TestDeletedSessionStaysDeleted(t *testing.T) {
	a, b := conversation(t)
	a.encrypt(t.Context(), b, "one")
	ctx, save := a.cached(b)
	a.encrypt(ctx, b, "two")
	if err := a.device.Sessions.DeleteSession(t.Context(), b.address.String()); err != nil {
		t.Fatal(err)
	}
	if err := save(); !errors.Is(err, ErrRatchet) {
		t.Fatalf("a deleted session was written back: %v", err)
	}
	a.start(b)
	b.decrypt(a, a.encrypt(t.Context(), b, "anew"), "anew")
}

func TestAdvanceRefusesRubbish(t *testing.T) {
	for _, stored := range [][]byte{nil, []byte("rubbish")} {
		if _, err := advance(stored, []byte("rubbish")); err == nil {
			t.Error("rubbish was accepted")
		}
	}
}
