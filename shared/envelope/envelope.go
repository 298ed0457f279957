// Package envelope seals and opens the pieces of a session that are kept in
// the cloud. The format, with byte offsets, is in SPEC.md beside this file.
package envelope

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// Kind says what an envelope holds.
type Kind uint8

// The kinds of version 1.
const (
	KindCredentials Kind = 1 // the credentials of a session
	KindBase        Kind = 2 // a part of a push that holds everything
	KindDelta       Kind = 3 // a part of a push that holds what changed
	KindSeal        Kind = 4 // the owner's end of an epoch
)

func (k Kind) String() string {
	switch k {
	case KindCredentials:
		return "credentials"
	case KindBase:
		return "base"
	case KindDelta:
		return "delta"
	case KindSeal:
		return "seal"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Sizes of version 1, in bytes.
const (
	// MaxSize is the largest envelope.
	MaxSize = 1 << 20
	// MaxBody is the largest body that fits into an envelope of MaxSize.
	MaxBody = (MaxSize-headerSize-tagSize)/padding*padding - lengthSize

	headerSize = 42
	tagSize    = sha256.Size
	padding    = 256
	lengthSize = 4
	minSize    = headerSize + padding + tagSize

	version        = 1
	flagCompressed = 1

	offVersion = 3
	offKind    = 4
	offFlags   = 5
	offKeyID   = 6
	offSalt    = 10
	offIV      = 26
)

const (
	magic     = "CSE"
	tagDomain = "cloudsession v1 envelope\x00"
)

// What can be wrong with an envelope. SPEC.md, "Reading", says when each is
// returned; the texts around them name the step.
var (
	ErrTruncated    = errors.New("envelope is truncated")
	ErrTooLarge     = errors.New("envelope is larger than 1 MiB")
	ErrNotEnvelope  = errors.New("not an envelope")
	ErrVersion      = errors.New("unknown envelope version")
	ErrTampered     = errors.New("envelope was altered or stands in the wrong place")
	ErrOtherSession = errors.New("envelope was sealed for another session")
	ErrUnknownKey   = errors.New("wrong secret: sealed with neither SESSION_ENCRYPTION_SECRET nor one of SESSION_ENCRYPTION_SECRET_PREVIOUS")
	ErrMalformed    = errors.New("envelope opens, but breaks the format")
)

// Salt is a session's salt for deriving its keys.
type Salt = [16]byte

// NewSalt returns a random salt for a new session.
func NewSalt() Salt {
	var s Salt
	_, _ = rand.Read(s[:]) // never fails: crypto/rand ends the process instead
	return s
}

// Position is the place of an envelope: it isn't stored in the envelope, but
// its tag holds only there.
type Position struct {
	SessionID string
	Epoch     uint64
	Seq       uint64
	Part      uint16 // from 1
	Parts     uint16
	PrevTag   [32]byte // as sessionlog/SPEC.md says; zero for credentials
}

// CredentialsPosition is the place of a session's credentials row.
func CredentialsPosition(sessionID string) Position {
	return Position{SessionID: sessionID, Part: 1, Parts: 1}
}

// Opened is what an envelope held.
type Opened struct {
	Kind       Kind
	Compressed bool // the body is, or is a piece of, a zstd stream
	Salt       Salt
	Plaintext  []byte // the body, not the caller's data
	KeyID      [4]byte
	Current    bool // sealed with the current secret, not a previous one
}

// Seal puts body into an envelope that opens at pos only. compressed tells
// readers that the body is (a piece of) a zstd stream, and is for KindBase
// only. It returns ErrTooLarge for a body over MaxBody.
func (k *Keyring) Seal(kind Kind, compressed bool, pos Position, salt Salt, body []byte) (data []byte, tag [32]byte, err error) {
	var iv [aes.BlockSize]byte
	_, _ = rand.Read(iv[:]) // never fails: crypto/rand ends the process instead
	return k.seal(kind, compressed, pos, salt, iv, body)
}

func (k *Keyring) seal(kind Kind, compressed bool, pos Position, salt Salt, iv [16]byte, body []byte) ([]byte, [32]byte, error) {
	if err := checkKind(kind, compressed); err != nil {
		return nil, [32]byte{}, fmt.Errorf("seal: %w", err)
	}
	if len(body) > MaxBody {
		return nil, [32]byte{}, fmt.Errorf("seal %d bytes: %w", len(body), ErrTooLarge)
	}
	s := k.secrets[0]
	keys := k.cache.keys(s, pos.SessionID, salt)

	n := padded(len(body))
	data := make([]byte, headerSize+n+tagSize)
	copy(data, magic)
	data[offVersion] = version
	data[offKind] = byte(kind)
	if compressed {
		data[offFlags] = flagCompressed
	}
	id := s.keyID(pos.SessionID)
	copy(data[offKeyID:], id[:])
	copy(data[offSalt:], salt[:])
	copy(data[offIV:], iv[:])

	text := data[headerSize : headerSize+n]
	binary.BigEndian.PutUint32(text, uint32(len(body))) //nolint:gosec // G115: MaxBody at most, see above
	copy(text[lengthSize:], body)
	keys.encrypt(iv, text)

	tag := keys.tag(data[:headerSize], pos, text)
	copy(data[headerSize+n:], tag[:])
	return data, tag, nil
}

// Open checks that data was sealed for pos with one of the keyring's secrets,
// and returns what it holds. The tag is checked before anything is decrypted.
// The error is one of this package's.
func (k *Keyring) Open(pos Position, data []byte) (Opened, error) {
	if err := checkShape(data); err != nil {
		return Opened{}, err
	}
	header, text := data[:headerSize], data[headerSize:len(data)-tagSize]
	stored, salt := data[len(data)-tagSize:], Salt(data[offSalt:offIV])
	id := [4]byte(data[offKeyID:offSalt])

	fits := false
	for i, s := range k.secrets {
		if s.keyID(pos.SessionID) != id {
			continue
		}
		fits = true
		keys := k.cache.keys(s, pos.SessionID, salt)
		if tag := keys.tag(header, pos, text); !hmac.Equal(tag[:], stored) {
			continue
		}
		body, err := keys.decrypt(header, text)
		if err != nil {
			return Opened{}, err
		}
		return Opened{
			Kind: Kind(header[offKind]), Compressed: header[offFlags] == flagCompressed,
			Salt: salt, Plaintext: body, KeyID: id, Current: i == 0,
		}, nil
	}
	if fits {
		return Opened{}, ErrTampered
	}
	return Opened{}, k.diagnose(pos, data)
}

// diagnose names the fault of an envelope whose key id is nobody's.
func (k *Keyring) diagnose(pos Position, data []byte) error {
	header := append([]byte(nil), data[:headerSize]...)
	text, stored := data[headerSize:len(data)-tagSize], data[len(data)-tagSize:]
	verdict := ErrUnknownKey
	for _, s := range k.secrets {
		id := s.keyID(pos.SessionID)
		copy(header[offKeyID:], id[:])
		tag := deriveKeys(s.value, pos.SessionID, Salt(data[offSalt:offIV])).tag(header, pos, text)
		if hmac.Equal(tag[:], stored) {
			return fmt.Errorf("key id: %w", ErrTampered)
		}
		if [2]byte(id[:2]) == [2]byte(data[offKeyID:offKeyID+2]) {
			verdict = ErrOtherSession
		}
	}
	return verdict
}

// Tag returns an envelope's tag without checking it.
func Tag(data []byte) ([32]byte, error) {
	if err := checkShape(data); err != nil {
		return [32]byte{}, err
	}
	return [32]byte(data[len(data)-tagSize:]), nil
}

// KeyHeader is how many bytes of an envelope say which key sealed it.
const KeyHeader = offSalt

// SealedByCurrent reports whether the header of an envelope, its first KeyHeader
// bytes or more, names the current secret and the session. Like every key id it
// is a hint: what it says is believed only after opening.
func (k *Keyring) SealedByCurrent(sessionID string, header []byte) bool {
	if len(header) < KeyHeader || string(header[:len(magic)]) != magic {
		return false
	}
	return [4]byte(header[offKeyID:offSalt]) == k.CurrentKeyID(sessionID)
}

// CurrentKeyID returns the key id of what the keyring seals for a session now.
// It stands in the clear in every envelope.
func (k *Keyring) CurrentKeyID(sessionID string) [4]byte { return k.secrets[0].keyID(sessionID) }

// SaltOf returns an envelope's salt without checking it.
func SaltOf(data []byte) (Salt, error) {
	if err := checkShape(data); err != nil {
		return Salt{}, err
	}
	return Salt(data[offSalt:offIV]), nil
}

// KindOf returns an envelope's kind without checking it.
func KindOf(data []byte) (Kind, error) {
	if err := checkShape(data); err != nil {
		return 0, err
	}
	return Kind(data[offKind]), nil
}

func checkShape(data []byte) error {
	switch {
	case len(data) > MaxSize:
		return fmt.Errorf("%d bytes: %w", len(data), ErrTooLarge)
	case len(data) < minSize:
		return fmt.Errorf("%d bytes: %w", len(data), ErrTruncated)
	case string(data[:len(magic)]) != magic:
		return ErrNotEnvelope
	case data[offVersion] != version:
		return fmt.Errorf("version %d: %w", data[offVersion], ErrVersion)
	case (len(data)-headerSize-tagSize)%padding != 0:
		return fmt.Errorf("%d bytes: %w", len(data), ErrTruncated)
	}
	return nil
}

func checkKind(kind Kind, compressed bool) error {
	if kind < KindCredentials || kind > KindSeal {
		return fmt.Errorf("%v: %w", kind, ErrMalformed)
	}
	if compressed && kind != KindBase {
		return fmt.Errorf("compressed %v: %w", kind, ErrMalformed)
	}
	return nil
}

// padded is the length of the plaintext of a body of n bytes.
func padded(n int) int {
	return (lengthSize + n + padding - 1) / padding * padding
}

func (s sealingKeys) encrypt(iv [16]byte, text []byte) {
	cipher.NewCBCEncrypter(s.block(), iv[:]).CryptBlocks(text, text)
}

// decrypt is called only after the tag has held.
func (s sealingKeys) decrypt(header, text []byte) ([]byte, error) {
	if flags := header[offFlags]; flags&^flagCompressed != 0 {
		return nil, fmt.Errorf("flags %02x: %w", flags, ErrMalformed)
	}
	if err := checkKind(Kind(header[offKind]), header[offFlags] == flagCompressed); err != nil {
		return nil, err
	}
	plain := make([]byte, len(text))
	cipher.NewCBCDecrypter(s.block(), header[offIV:headerSize]).CryptBlocks(plain, text)
	n := int(binary.BigEndian.Uint32(plain))
	if n > len(plain)-lengthSize || padded(n) != len(plain) {
		return nil, fmt.Errorf("body of %d bytes in %d: %w", n, len(plain), ErrMalformed)
	}
	for _, b := range plain[lengthSize+n:] {
		if b != 0 {
			return nil, fmt.Errorf("padding: %w", ErrMalformed)
		}
	}
	return plain[lengthSize : lengthSize+n : lengthSize+n], nil
}

// tag computes the tag of header and ciphertext at pos.
func (s sealingKeys) tag(header []byte, pos Position, ciphertext []byte) [32]byte {
	b := make([]byte, 0, len(tagDomain)+headerSize+len(pos.SessionID)+7*4+8+8+2+2+32)
	b = append(b, tagDomain...)
	b = append(b, header...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(pos.SessionID))) //nolint:gosec // G115: a session id is short
	b = append(b, pos.SessionID...)
	b = binary.BigEndian.AppendUint32(b, 8)
	b = binary.BigEndian.AppendUint64(b, pos.Epoch)
	b = binary.BigEndian.AppendUint32(b, 8)
	b = binary.BigEndian.AppendUint64(b, pos.Seq)
	b = binary.BigEndian.AppendUint32(b, 2)
	b = binary.BigEndian.AppendUint16(b, pos.Part)
	b = binary.BigEndian.AppendUint32(b, 2)
	b = binary.BigEndian.AppendUint16(b, pos.Parts)
	b = binary.BigEndian.AppendUint32(b, 32)
	b = append(b, pos.PrevTag[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(ciphertext))) //nolint:gosec // G115: as long as MaxBody and its padding
	h := hmac.New(sha256.New, s.mac[:])
	_, _ = h.Write(b) // a hash never fails
	_, _ = h.Write(ciphertext)
	return [32]byte(h.Sum(nil))
}
