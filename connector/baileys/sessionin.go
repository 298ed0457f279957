package baileys

import (
	"bytes"
	"cmp"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"

	"go.mau.fi/libsignal/keys/chain"
	"go.mau.fi/libsignal/keys/message"
	"go.mau.fi/libsignal/state/record"
	"go.mau.fi/libsignal/util/optional"
)

// keyType stands before a public key wherever Signal doesn't fix the curve.
const keyType = 5

// noKey stands in our records where libsignal's have none: no chain has it.
var noKey [32]byte

// Bounds of whatsmeow's library (its state/record), and ours for chains: it
// keeps 5, but one that a message may still be held back on is worth more.
const (
	maxStates      = 40
	maxSkipped     = 2000
	usualChains    = 5
	newestChains   = 2
	maxChains      = 40
	sessionVersion = 3
)

// self is what our side adds to each record.
type self struct {
	private        []byte // the identity key
	identity       []byte // its public part, 33 bytes
	registrationID uint32
}

// skipped counts what a conversion left out, in messages and states.
type skipped struct {
	messageKeys int // keys of messages that haven't come: each needs one retry
	states      int // archived states that can't be expressed
	duplicates  int // sender key states that no message can reach
}

func (s *skipped) add(o skipped) {
	s.messageKeys += o.messageKeys
	s.states += o.states
	s.duplicates += o.duplicates
}

// toGo makes whatsmeow's session record: the JSON that its library stores. It
// returns nil if no session is open that could send: whoever writes next makes a
// new one.
func (r nodeRecord) toGo(me self) (row []byte, left skipped, err error) {
	current := r.openState()
	if current == nil || current.sendingChain() == nil {
		left.states = len(r.Sessions)
		return nil, left, nil
	}
	var closed []*nodeState
	for i := range r.Sessions {
		s := &r.Sessions[i].value
		switch {
		case s == current:
		case s.sendingChain() == nil:
			left.states++
		default:
			closed = append(closed, s)
		}
	}
	// libsignal tries the most recently used first.
	slices.SortStableFunc(closed, func(a, b *nodeState) int {
		return cmp.Compare(b.IndexInfo.Used, a.IndexInfo.Used)
	})
	if len(closed) > maxStates {
		left.states += len(closed) - maxStates
		closed = closed[:maxStates]
	}
	out := record.SessionStructure{PreviousStates: []*record.StateStructure{}}
	if out.SessionState, err = current.toGo(me, &left); err != nil {
		return nil, left, err
	}
	for _, s := range closed {
		state, err := s.toGo(me, &left)
		if err != nil {
			return nil, left, err
		}
		out.PreviousStates = append(out.PreviousStates, state)
	}
	row, err = json.Marshal(out)
	if err != nil {
		return nil, left, fmt.Errorf("encode session: %w", err)
	}
	return row, left, nil
}

func (s *nodeState) sendingChain() *nodeChain {
	c := s.chain(s.CurrentRatchet.EphemeralKeyPair.PubKey)
	if c == nil || c.ChainType != oursOrSending || c.ChainKey.Key == nil {
		return nil
	}
	return c
}

func (s *nodeState) chain(key []byte) *nodeChain {
	name := base64.StdEncoding.EncodeToString(key)
	for i := range s.Chains {
		if s.Chains[i].name == name {
			return &s.Chains[i].value
		}
	}
	return nil
}

func (s *nodeState) toGo(me self, left *skipped) (*record.StateStructure, error) {
	ratchet := s.CurrentRatchet
	sender, err := goChain(ratchet.EphemeralKeyPair.PubKey, ratchet.EphemeralKeyPair.PrivKey, s.sendingChain(), left)
	if err != nil {
		return nil, err
	}
	receivers, err := s.receivers(left)
	if err != nil {
		return nil, err
	}
	state := &record.StateStructure{
		LocalIdentityPublic:  me.identity,
		LocalRegistrationID:  me.registrationID,
		PreviousCounter:      uint32(ratchet.PreviousCounter), //nolint:gosec // G115: -1 is what both write as 2^32 - 1
		ReceiverChains:       receivers,
		RemoteIdentityPublic: s.IndexInfo.RemoteIdentityKey,
		RemoteRegistrationID: s.RegistrationID,
		RootKey:              ratchet.RootKey,
		SenderBaseKey:        s.IndexInfo.BaseKey,
		SenderChain:          sender,
		SessionVersion:       sessionVersion,
	}
	if p := s.PendingPreKey; p != nil {
		state.PendingPreKey = &record.PendingPreKeyStructure{PreKeyID: optional.NewEmptyUint32(), SignedPreKeyID: p.SignedKeyID, BaseKey: p.BaseKey}
		if p.PreKeyID != nil && *p.PreKeyID != 0 { // libsignal sends no id 0
			state.PendingPreKey.PreKeyID = optional.NewOptionalUint32(*p.PreKeyID)
		}
	}
	return state, nil
}

// receivers makes the receiving chains, oldest first. libsignal keeps every chain
// for ever; chains without a skipped message can't be needed again.
func (s *nodeState) receivers(left *skipped) ([]*record.ChainStructure, error) {
	last := base64.StdEncoding.EncodeToString(s.CurrentRatchet.LastRemoteEphemeralKey)
	var names []member[nodeChain]
	for _, c := range s.Chains {
		if c.value.ChainType == theirsOrReceiving {
			names = append(names, c)
		}
	}
	slices.SortStableFunc(names, func(a, b member[nodeChain]) int {
		return cmp.Compare(boolNumber(a.name == last), boolNumber(b.name == last))
	})
	kept := keepChains(names, left)
	out := make([]*record.ChainStructure, 0, len(kept)+1)
	for _, c := range kept {
		public, err := base64.StdEncoding.DecodeString(c.name)
		if err != nil {
			return nil, fmt.Errorf("decode ratchet key: %w", err)
		}
		chain, err := goChain(public, nil, &c.value, left)
		if err != nil {
			return nil, err
		}
		out = append(out, chain)
	}
	if len(out) == 0 {
		// Nobody has answered yet: the key is the peer's signed prekey, which
		// whatsmeow has a chain for. Nobody sends on it.
		out = append(out, &record.ChainStructure{
			SenderRatchetKeyPublic: s.CurrentRatchet.LastRemoteEphemeralKey,
			ChainKey:               &chain.KeyStructure{Key: noKey[:]},
			MessageKeys:            []*message.KeysStructure{},
		})
	}
	return out, nil
}

func boolNumber(b bool) int {
	if b {
		return 1
	}
	return 0
}

// keepChains keeps the newest chains and those with skipped messages. whatsmeow's
// library drops the first whenever it adds one to five, so those with skipped
// messages go behind the others, before the two newest: a message that was sent
// twice may still come on these.
func keepChains(all []member[nodeChain], left *skipped) []member[nodeChain] {
	var empty, held []member[nodeChain]
	newest := all[max(0, len(all)-newestChains):]
	for i, c := range all[:len(all)-len(newest)] {
		switch {
		case len(c.value.MessageKeys) > 0:
			held = append(held, c)
		case i >= len(all)-usualChains:
			empty = append(empty, c)
		}
	}
	for len(held) > maxChains-usualChains {
		left.messageKeys += len(held[0].value.MessageKeys)
		held = held[1:]
	}
	return slices.Concat(empty, held, newest)
}

func goChain(public, private []byte, c *nodeChain, left *skipped) (*record.ChainStructure, error) {
	out := &record.ChainStructure{
		SenderRatchetKeyPublic:  public,
		SenderRatchetKeyPrivate: private,
		ChainKey:                &chain.KeyStructure{Key: c.ChainKey.Key, Index: uint32(c.ChainKey.Counter + 1)}, //nolint:gosec // G115: its range was checked when the file was read
		MessageKeys:             []*message.KeysStructure{},
	}
	if c.ChainKey.Key == nil {
		out.ChainKey.Key = noKey[:]
	}
	counters := c.counters()
	if len(counters) > maxSkipped {
		left.messageKeys += len(counters) - maxSkipped
		counters = counters[len(counters)-maxSkipped:]
	}
	for _, n := range counters {
		seed := c.MessageKeys[strconv.FormatUint(uint64(n), 10)]
		keys, err := messageKeys(seed, n)
		if err != nil {
			return nil, err
		}
		out.MessageKeys = append(out.MessageKeys, keys)
	}
	return out, nil
}

// messageKeys makes the keys of one message from their seed.
func messageKeys(seed []byte, index uint32) (*message.KeysStructure, error) {
	keys, err := hkdf.Key(sha256.New, seed, nil, message.KdfSalt, message.DerivedSecretsSize)
	if err != nil {
		return nil, fmt.Errorf("derive message key: %w", err)
	}
	return &message.KeysStructure{CipherKey: keys[:32], MacKey: keys[32:64], IV: keys[64:], Index: index}, nil
}

// selfOf makes what a device adds to its records.
func selfOf(identity []byte, registrationID uint32) self {
	return self{identity, append([]byte{keyType}, publicOf(identity)...), registrationID}
}

// neverSent is whatsmeow's previous counter of a chain on which nothing was sent:
// 0 less one.
const neverSent = math.MaxUint32

func isNoKey(key []byte) bool { return bytes.Equal(key, noKey[:]) }
