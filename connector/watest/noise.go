package watest

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"go.mau.fi/whatsmeow/proto/waWa6"
	"go.mau.fi/whatsmeow/socket"
	"go.mau.fi/whatsmeow/util/gcmutil"
	"go.mau.fi/whatsmeow/util/keys"
	"google.golang.org/protobuf/proto"
)

// noise is the service's half of Noise_XX_25519_AESGCM_SHA256 as WhatsApp runs
// it: the padded pattern name is hash and salt unhashed, and the client's
// connection header is the prologue. whatsmeow's socket.NoiseHandshake is the
// client's half and can't finish as a responder.
type noise struct {
	hash, salt []byte
	aead       cipher.AEAD
	counter    uint32
}

func newNoise(prologue []byte) (*noise, error) {
	start := []byte(socket.NoiseStartPattern)
	n := &noise{hash: start, salt: start}
	aead, err := gcmutil.Prepare(start)
	if err != nil {
		return nil, fmt.Errorf("start handshake: %w", err)
	}
	n.aead = aead
	n.mixHash(prologue)
	return n, nil
}

func (n *noise) mixHash(data []byte) {
	h := sha256.New()
	h.Write(n.hash)
	h.Write(data)
	n.hash = h.Sum(nil)
}

// expand is HKDF(salt, secret) to two keys.
func (n *noise) expand(secret []byte) (first, second []byte, err error) {
	out, err := hkdf.Key(sha256.New, secret, n.salt, "", 64)
	if err != nil {
		return nil, nil, fmt.Errorf("derive handshake keys: %w", err)
	}
	return out[:32], out[32:], nil
}

func (n *noise) mixKey(private *[32]byte, public []byte) error {
	secret, err := sharedSecret(private, public)
	if err != nil {
		return err
	}
	salt, key, err := n.expand(secret)
	if err != nil {
		return err
	}
	n.salt, n.counter = salt, 0
	n.aead, err = gcmutil.Prepare(key)
	return err
}

func (n *noise) seal(plaintext []byte) []byte {
	sealed := n.aead.Seal(nil, nonce(n.counter), plaintext, n.hash)
	n.counter++
	n.mixHash(sealed)
	return sealed
}

func (n *noise) open(sealed []byte) ([]byte, error) {
	plaintext, err := n.aead.Open(nil, nonce(n.counter), sealed, n.hash)
	if err != nil {
		return nil, fmt.Errorf("open handshake part: %w", err)
	}
	n.counter++
	n.mixHash(sealed)
	return plaintext, nil
}

// split gives the two transport ciphers: the client's first.
func (n *noise) split() (fromClient, toClient *direction, err error) {
	first, second, err := n.expand(nil)
	if err != nil {
		return nil, nil, err
	}
	fromAEAD, err := gcmutil.Prepare(first)
	if err != nil {
		return nil, nil, err
	}
	toAEAD, err := gcmutil.Prepare(second)
	if err != nil {
		return nil, nil, err
	}
	return &direction{aead: fromAEAD}, &direction{aead: toAEAD}, nil
}

// direction seals or opens one direction's frames, each under its own counter.
type direction struct {
	aead    cipher.AEAD
	counter uint32
}

func (d *direction) seal(plaintext []byte) []byte {
	sealed := d.aead.Seal(nil, nonce(d.counter), plaintext, nil)
	d.counter++
	return sealed
}

func (d *direction) open(sealed []byte) ([]byte, error) {
	plaintext, err := d.aead.Open(nil, nonce(d.counter), sealed, nil)
	if err != nil {
		return nil, fmt.Errorf("open frame %d: %w", d.counter, err)
	}
	d.counter++
	return plaintext, nil
}

func nonce(counter uint32) []byte {
	iv := make([]byte, 12)
	binary.BigEndian.PutUint32(iv[8:], counter)
	return iv
}

// handshakeResult is what the service knows of a client after the handshake.
type handshakeResult struct {
	static               [32]byte // the client's Noise key: what proves a device at login
	payload              *waWa6.ClientPayload
	fromClient, toClient *direction
}

var errHandshake = errors.New("malformed handshake message")

// respond runs the handshake over two frame functions.
func respond(static *keys.KeyPair, certificate, prologue []byte, read func() ([]byte, error), write func([]byte) error) (*handshakeResult, error) {
	n, err := newNoise(prologue)
	if err != nil {
		return nil, err
	}
	hello, err := readHandshake(read)
	if err != nil {
		return nil, err
	}
	clientEphemeral := hello.GetClientHello().GetEphemeral()
	if len(clientEphemeral) != 32 {
		return nil, fmt.Errorf("client hello: %w", errHandshake)
	}
	ephemeral := keys.NewKeyPair()
	answer, err := n.serverHello(static, ephemeral, clientEphemeral, certificate)
	if err != nil {
		return nil, err
	}
	if err := write(answer); err != nil {
		return nil, err
	}
	finish, err := readHandshake(read)
	if err != nil {
		return nil, err
	}
	return n.clientFinish(ephemeral, finish.GetClientFinish())
}

func readHandshake(read func() ([]byte, error)) (*waWa6.HandshakeMessage, error) {
	frame, err := read()
	if err != nil {
		return nil, err
	}
	var message waWa6.HandshakeMessage
	if err := proto.Unmarshal(frame, &message); err != nil {
		return nil, fmt.Errorf("%w: %w", errHandshake, err)
	}
	return &message, nil
}

func (n *noise) serverHello(static, ephemeral *keys.KeyPair, clientEphemeral, certificate []byte) ([]byte, error) {
	n.mixHash(clientEphemeral)
	n.mixHash(ephemeral.Pub[:])
	if err := n.mixKey(ephemeral.Priv, clientEphemeral); err != nil {
		return nil, err
	}
	sealedStatic := n.seal(static.Pub[:])
	if err := n.mixKey(static.Priv, clientEphemeral); err != nil {
		return nil, err
	}
	return proto.Marshal(&waWa6.HandshakeMessage{ServerHello: &waWa6.HandshakeMessage_ServerHello{
		Ephemeral: ephemeral.Pub[:], Static: sealedStatic, Payload: n.seal(certificate),
	}})
}

func (n *noise) clientFinish(ephemeral *keys.KeyPair, finish *waWa6.HandshakeMessage_ClientFinish) (*handshakeResult, error) {
	static, err := n.open(finish.GetStatic())
	if err != nil {
		return nil, err
	}
	if len(static) != 32 {
		return nil, fmt.Errorf("client static key: %w", errHandshake)
	}
	if err := n.mixKey(ephemeral.Priv, static); err != nil {
		return nil, err
	}
	raw, err := n.open(finish.GetPayload())
	if err != nil {
		return nil, err
	}
	result := &handshakeResult{static: [32]byte(static), payload: new(waWa6.ClientPayload)}
	if err := proto.Unmarshal(raw, result.payload); err != nil {
		return nil, fmt.Errorf("client payload: %w: %w", errHandshake, err)
	}
	result.fromClient, result.toClient, err = n.split()
	return result, err
}
