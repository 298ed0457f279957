package baileys

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strconv"

	"go.mau.fi/libsignal/groups/ratchet"
	"go.mau.fi/libsignal/groups/state/record"
)

// nodeSenderState is Baileys' SenderKeyState (its Signal/Group/sender-key-state).
// A record is an array of them, newest last; a file is a Buffer that holds the
// record's JSON.
type nodeSenderState struct {
	ID         uint32         `json:"senderKeyId"`
	ChainKey   nodeGroupKey   `json:"senderChainKey"`
	SigningKey nodeSigningKey `json:"senderSigningKey"`
	Skipped    []nodeGroupKey `json:"senderMessageKeys"`
}

// nodeGroupKey is a chain key, or the key of a skipped message.
type nodeGroupKey struct {
	Iteration uint32     `json:"iteration"`
	Seed      eitherWays `json:"seed"`
}

type nodeSigningKey struct {
	Public  eitherWays `json:"public"`
	Private eitherWays `json:"private"` // empty in others' keys
}

// eitherWays is read in any encoding and written as a Buffer.
type eitherWays []byte

// UnmarshalJSON implements json.Unmarshaler.
func (b *eitherWays) UnmarshalJSON(data []byte) error { return (*bytesIn)(b).UnmarshalJSON(data) }

// MarshalJSON implements json.Marshaler.
func (b eitherWays) MarshalJSON() ([]byte, error) { return buffer(b).MarshalJSON() }

// parseSenderKey reads a sender-key file.
func parseSenderKey(data []byte) ([]nodeSenderState, error) {
	var text bytesIn
	if err := decode(data, &text); err != nil {
		return nil, err
	}
	var states []nodeSenderState
	if err := decode(text, &states); err != nil {
		return nil, in("data", err)
	}
	for i := range states {
		if err := states[i].check(); err != nil {
			return nil, in("data["+strconv.Itoa(i)+"]", err)
		}
	}
	return states, nil
}

// check checks the lengths and completes a public key without its type.
func (s *nodeSenderState) check() error {
	if err := checkLength("senderChainKey.seed", s.ChainKey.Seed, 32); err != nil {
		return err
	}
	if len(s.SigningKey.Public) == 32 {
		s.SigningKey.Public = append(eitherWays{keyType}, s.SigningKey.Public...)
	}
	if err := checkPublic("senderSigningKey.public", s.SigningKey.Public); err != nil {
		return err
	}
	if len(s.SigningKey.Private) != 0 {
		if err := checkLength("senderSigningKey.private", s.SigningKey.Private, 32); err != nil {
			return err
		}
	}
	for _, k := range s.Skipped {
		if err := checkLength("senderMessageKeys", k.Seed, 32); err != nil {
			return err
		}
	}
	return nil
}

// senderKeyToGo makes whatsmeow's sender key record. It returns nil for a record
// without a state: Baileys writes one before it knows a key.
func senderKeyToGo(states []nodeSenderState) (row []byte, left skipped, err error) {
	out := record.SenderKeyStructure{}
	seen := map[uint32]bool{}
	for _, s := range states {
		if seen[s.ID] {
			left.duplicates++ // Baileys uses the first with an id
			continue
		}
		seen[s.ID] = true
		state, err := s.toGo(&left)
		if err != nil {
			return nil, left, err
		}
		out.SenderKeyStates = append([]*record.SenderKeyStateStructure{state}, out.SenderKeyStates...)
	}
	if len(out.SenderKeyStates) == 0 {
		return nil, left, nil
	}
	row, err = json.Marshal(out)
	if err != nil {
		return nil, left, fmt.Errorf("encode sender key: %w", err)
	}
	return row, left, nil
}

func (s nodeSenderState) toGo(left *skipped) (*record.SenderKeyStateStructure, error) {
	out := &record.SenderKeyStateStructure{
		Keys:              []*ratchet.SenderMessageKeyStructure{},
		KeyID:             s.ID,
		SenderChainKey:    &ratchet.SenderChainKeyStructure{Iteration: s.ChainKey.Iteration, ChainKey: s.ChainKey.Seed},
		SigningKeyPrivate: s.SigningKey.Private,
		SigningKeyPublic:  s.SigningKey.Public,
	}
	if len(s.SigningKey.Private) == 0 {
		out.SigningKeyPrivate = noKey[:] // so whatsmeow's library writes it
	}
	keys := s.Skipped
	if len(keys) > maxSkipped {
		left.messageKeys += len(keys) - maxSkipped
		keys = keys[len(keys)-maxSkipped:]
	}
	for _, k := range keys {
		derived, err := hkdf.Key(sha256.New, k.Seed, nil, ratchet.KdfInfo, 48)
		if err != nil {
			return nil, fmt.Errorf("derive group message key: %w", err)
		}
		out.Keys = append(out.Keys, &ratchet.SenderMessageKeyStructure{Iteration: k.Iteration, IV: derived[:16], CipherKey: derived[16:], Seed: bytes.Clone(k.Seed)})
	}
	return out, nil
}

// senderKeyRow reads whatsmeow's sender key record.
func senderKeyRow(row []byte) (*record.SenderKeyStructure, error) {
	var r record.SenderKeyStructure
	if err := decode(row, &r); err != nil {
		return nil, err
	}
	for _, s := range r.SenderKeyStates {
		if s == nil || s.SenderChainKey == nil {
			return nil, badField("SenderKeyStates", "is missing")
		}
		if err := checkSenderState(s); err != nil {
			return nil, in("SenderKeyStates", err)
		}
	}
	return &r, nil
}

func checkSenderState(s *record.SenderKeyStateStructure) error {
	if err := checkLength("SenderChainKey.ChainKey", s.SenderChainKey.ChainKey, 32); err != nil {
		return err
	}
	if err := checkPublic("SigningKeyPublic", s.SigningKeyPublic); err != nil {
		return err
	}
	if len(s.SigningKeyPrivate) != 0 {
		if err := checkLength("SigningKeyPrivate", s.SigningKeyPrivate, 32); err != nil {
			return err
		}
	}
	for _, k := range s.Keys {
		if k == nil || len(k.Seed) != 32 {
			return badField("Keys", "is not a key with a seed")
		}
	}
	return nil
}

// senderKeyToNode makes Baileys' sender key record.
func senderKeyToNode(r *record.SenderKeyStructure) (states []nodeSenderState, left skipped) {
	seen := map[uint32]bool{}
	for _, s := range r.SenderKeyStates {
		if seen[s.KeyID] {
			left.duplicates++ // whatsmeow uses the first with an id
			continue
		}
		seen[s.KeyID] = true
		out := nodeSenderState{
			ID:         s.KeyID,
			ChainKey:   nodeGroupKey{s.SenderChainKey.Iteration, s.SenderChainKey.ChainKey},
			SigningKey: nodeSigningKey{s.SigningKeyPublic, s.SigningKeyPrivate},
			Skipped:    []nodeGroupKey{},
		}
		if isNoKey(s.SigningKeyPrivate) {
			out.SigningKey.Private = nil
		}
		for _, k := range s.Keys {
			out.Skipped = append(out.Skipped, nodeGroupKey{k.Iteration, k.Seed})
		}
		states = append([]nodeSenderState{out}, states...)
	}
	return states, left
}

// encodeSenderKey makes a sender-key file.
func encodeSenderKey(states []nodeSenderState) ([]byte, error) {
	text, err := json.Marshal(states)
	if err != nil {
		return nil, err
	}
	return json.Marshal(buffer(text))
}
