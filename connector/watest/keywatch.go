package watest

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"go.mau.fi/libsignal/protocol"
	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/types"
)

// Reuse is a Signal message key that encrypted two different messages. Both
// are on the wire: who has read one can read the other.
type Reuse struct {
	Device  types.JID // the sending device, by its LID
	ID      types.MessageID
	FirstID types.MessageID // the message that used the key first
	Group   bool            // a sender key; else a pairwise session
	Counter uint32          // the message's number in its chain
}

// keyWatch remembers under which keys which ciphertexts came.
type keyWatch struct {
	seen   map[string]sighting
	reuses []Reuse
}

type sighting struct {
	ciphertext [sha256.Size]byte
	id         string
}

// Reuses lists the message keys seen twice with different ciphertexts.
func (s *Service) Reuses() []Reuse {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.watch.reuses)
}

// observe looks at every ciphertext of a message as it comes off the wire,
// before any fault keeps it from going further.
func (s *Service) observe(c *conn, n *node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.device != nil {
		s.observeLocked(c.device, n)
	}
}

func (s *Service) observeLocked(from *device, n *node) {
	encs := n.GetChildrenByTag("enc")
	participants := n.GetChildByTag("participants")
	for _, copyFor := range participants.GetChildren() {
		encs = append(encs, copyFor.GetChildrenByTag("enc")...)
	}
	for _, enc := range encs {
		group := textAttr(&enc, "type") == "skmsg"
		chain, counter, ok := messageKey(textAttr(&enc, "type"), bytesOf(enc))
		if !ok {
			continue
		}
		if group {
			chain = from.address(types.HiddenUserServer).String() + jidAttr(n, "to").String() + chain
		}
		s.sightLocked(from, chain, counter, group, textAttr(n, "id"), sealedPart(textAttr(&enc, "type"), bytesOf(enc)))
	}
}

func (s *Service) sightLocked(from *device, chain string, counter uint32, group bool, id string, ciphertext []byte) {
	if s.watch.seen == nil {
		s.watch.seen = make(map[string]sighting)
	}
	key := chain + string(binary.BigEndian.AppendUint32(nil, counter))
	sum := sha256.Sum256(ciphertext)
	before, ok := s.watch.seen[key]
	if !ok {
		s.watch.seen[key] = sighting{sum, id}
		return
	}
	if before.ciphertext != sum {
		s.counts.KeysReused++
		s.watch.reuses = append(s.watch.reuses, Reuse{
			Device: from.address(types.HiddenUserServer), ID: id, FirstID: before.id, Group: group, Counter: counter,
		})
	}
}

// messageKey names the key a ciphertext was made with: its chain (the sender's
// ratchet key, or the sender key's id) and its number in the chain.
func messageKey(kind string, ciphertext []byte) (chain string, counter uint32, ok bool) {
	if kind == "skmsg" {
		m, err := protocol.NewSenderKeyMessageFromBytes(ciphertext, store.SignalProtobufSerializer.SenderKeyMessage)
		if err != nil {
			return "", 0, false
		}
		return string(uint32Bytes(m.KeyID())), m.Iteration(), true
	}
	m, err := signalMessage(kind, ciphertext)
	if err != nil {
		return "", 0, false
	}
	return string(m.SenderRatchetKey().Serialize()), m.Counter(), true
}

func signalMessage(kind string, ciphertext []byte) (*protocol.SignalMessage, error) {
	s := store.SignalProtobufSerializer
	if kind != "pkmsg" {
		return protocol.NewSignalMessageFromBytes(ciphertext, s.SignalMessage)
	}
	m, err := protocol.NewPreKeySignalMessageFromBytes(ciphertext, s.PreKeySignalMessage, s.SignalMessage)
	if err != nil {
		return nil, err
	}
	return m.WhisperMessage(), nil
}

// sealedPart is the part of a ciphertext that must be the same whenever its
// key is: the same message may be sent with and without its session opening.
func sealedPart(kind string, ciphertext []byte) []byte {
	if kind == "pkmsg" {
		if m, err := signalMessage(kind, ciphertext); err == nil {
			return m.Serialize()
		}
	}
	return ciphertext
}
