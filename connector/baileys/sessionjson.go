package baileys

import (
	"cmp"
	"encoding/base64"
	"slices"
	"strconv"
)

// The types below are libsignal's session record (its src/session_record.js), in
// the order in which it writes the fields. Bytes are base64 strings.

const recordVersion = "v1"

// Values of baseKeyType and chainType.
const (
	oursOrSending     = 1
	theirsOrReceiving = 2
)

// open is the value of indexInfo.closed of the session that is in use.
const open = -1

type nodeRecord struct {
	Sessions ordered[nodeState] `json:"_sessions"` // by the base key in base64
	Version  string             `json:"version"`
}

type nodeState struct {
	RegistrationID uint32             `json:"registrationId"`
	CurrentRatchet nodeRatchet        `json:"currentRatchet"`
	IndexInfo      nodeIndexInfo      `json:"indexInfo"`
	Chains         ordered[nodeChain] `json:"_chains"` // by the ratchet key in base64, oldest first
	PendingPreKey  *nodePending       `json:"pendingPreKey,omitempty"`
}

type nodeRatchet struct {
	EphemeralKeyPair struct {
		PubKey  []byte `json:"pubKey"`
		PrivKey []byte `json:"privKey"`
	} `json:"ephemeralKeyPair"`
	LastRemoteEphemeralKey []byte `json:"lastRemoteEphemeralKey"`
	PreviousCounter        int64  `json:"previousCounter"`
	RootKey                []byte `json:"rootKey"`
}

type nodeIndexInfo struct {
	BaseKey           []byte `json:"baseKey"`
	BaseKeyType       int    `json:"baseKeyType"`
	Closed            int64  `json:"closed"` // milliseconds since 1970, or open
	Used              int64  `json:"used"`
	Created           int64  `json:"created"`
	RemoteIdentityKey []byte `json:"remoteIdentityKey"`
}

type nodeChain struct {
	ChainKey struct {
		Counter int64  `json:"counter"`       // of the last message key made; -1 before the first
		Key     []byte `json:"key,omitempty"` // none in a closed chain
	} `json:"chainKey"`
	ChainType   int               `json:"chainType"`
	MessageKeys map[string][]byte `json:"messageKeys"` // seeds of skipped messages' keys, by counter
}

type nodePending struct {
	SignedKeyID uint32  `json:"signedKeyId"`
	BaseKey     []byte  `json:"baseKey"`
	PreKeyID    *uint32 `json:"preKeyId,omitempty"`
}

// parseRecord reads a session file and checks every length and range in it.
func parseRecord(data []byte) (nodeRecord, error) {
	var r nodeRecord
	if err := decode(data, &r); err != nil {
		return r, err
	}
	if r.Version != recordVersion {
		return r, badField("version", "is not %s", recordVersion)
	}
	for i, s := range r.Sessions {
		if err := s.value.check(); err != nil {
			return r, in("_sessions["+strconv.Itoa(i)+"]", err)
		}
		if s.name != base64.StdEncoding.EncodeToString(s.value.IndexInfo.BaseKey) {
			return r, badField("_sessions["+strconv.Itoa(i)+"]", "is not filed under its base key")
		}
	}
	return r, nil
}

func (s *nodeState) check() error {
	ratchet := s.CurrentRatchet
	err := cmp.Or(
		checkPublic("currentRatchet.ephemeralKeyPair.pubKey", ratchet.EphemeralKeyPair.PubKey),
		checkLength("currentRatchet.ephemeralKeyPair.privKey", ratchet.EphemeralKeyPair.PrivKey, 32),
		checkPublic("currentRatchet.lastRemoteEphemeralKey", ratchet.LastRemoteEphemeralKey),
		checkRange("currentRatchet.previousCounter", ratchet.PreviousCounter, -1, 1<<32-1),
		checkLength("currentRatchet.rootKey", ratchet.RootKey, 32),
		checkPublic("indexInfo.baseKey", s.IndexInfo.BaseKey),
		checkPublic("indexInfo.remoteIdentityKey", s.IndexInfo.RemoteIdentityKey),
	)
	if err != nil {
		return err
	}
	if p := s.PendingPreKey; p != nil {
		if err := checkPublic("pendingPreKey.baseKey", p.BaseKey); err != nil {
			return err
		}
	}
	for i, c := range s.Chains {
		if err := c.value.check(c.name); err != nil {
			return in("_chains["+strconv.Itoa(i)+"]", err)
		}
	}
	return nil
}

func (c *nodeChain) check(name string) error {
	key, err := base64.StdEncoding.DecodeString(name)
	if err != nil || checkPublic("", key) != nil {
		return badField("", "is not filed under a ratchet key")
	}
	if err := checkRange("chainKey.counter", c.ChainKey.Counter, -1, 1<<32-2); err != nil {
		return err
	}
	if c.ChainKey.Key != nil {
		if err := checkLength("chainKey.key", c.ChainKey.Key, 32); err != nil {
			return err
		}
	}
	if c.ChainType != oursOrSending && c.ChainType != theirsOrReceiving {
		return badField("chainType", "is neither sending nor receiving")
	}
	for counter, seed := range c.MessageKeys {
		if n, err := strconv.ParseUint(counter, 10, 32); err != nil || strconv.FormatUint(n, 10) != counter {
			return badField("messageKeys", "is not filed under counters")
		}
		if err := checkLength("messageKeys", seed, 32); err != nil {
			return err
		}
	}
	return nil
}

// counters returns the counters of the skipped messages' keys, ascending.
func (c *nodeChain) counters() []uint32 {
	list := make([]uint32, 0, len(c.MessageKeys))
	for text := range c.MessageKeys {
		n, _ := strconv.ParseUint(text, 10, 32) // checked by check
		list = append(list, uint32(n))
	}
	slices.Sort(list)
	return list
}

// openState returns the session that libsignal would use for sending, nil if none is open.
func (r nodeRecord) openState() *nodeState {
	for i := range r.Sessions {
		if r.Sessions[i].value.IndexInfo.Closed == open {
			return &r.Sessions[i].value
		}
	}
	return nil
}

func checkLength(field string, b []byte, n int) error {
	if len(b) != n {
		return badField(field, "has %d bytes instead of %d", len(b), n)
	}
	return nil
}

// checkPublic checks a public key with the byte that names its curve.
func checkPublic(field string, b []byte) error {
	if len(b) != 33 || b[0] != keyType {
		return badField(field, "is not a public key of 33 bytes")
	}
	return nil
}

func checkRange(field string, n, least, most int64) error {
	if n < least || n > most {
		return badField(field, "is out of range")
	}
	return nil
}
