package baileys

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"slices"
	"strconv"

	"go.mau.fi/libsignal/state/record"
)

// sessionRow reads whatsmeow's session record and checks that it has all that
// its library would use without looking.
func sessionRow(row []byte) (*record.SessionStructure, error) {
	var r record.SessionStructure
	if err := decode(row, &r); err != nil {
		return nil, err
	}
	if err := checkState(r.SessionState); err != nil {
		return nil, in("SessionState", err)
	}
	for _, s := range r.PreviousStates {
		if err := checkState(s); err != nil {
			return nil, in("PreviousStates", err)
		}
	}
	return &r, nil
}

func checkState(s *record.StateStructure) error {
	if s == nil {
		return badField("", "is missing")
	}
	if s.SessionVersion != sessionVersion {
		return badField("SessionVersion", "is not %d", sessionVersion)
	}
	err := cmp.Or(
		checkPublic("RemoteIdentityPublic", s.RemoteIdentityPublic),
		checkPublic("SenderBaseKey", s.SenderBaseKey),
		checkLength("RootKey", s.RootKey, 32),
		in("SenderChain", checkChain(s.SenderChain)),
	)
	if err != nil {
		return err
	}
	if err := checkLength("SenderChain.SenderRatchetKeyPrivate", s.SenderChain.SenderRatchetKeyPrivate, 32); err != nil {
		return err
	}
	if p := s.PendingPreKey; p != nil {
		if err := checkPublic("PendingPreKey.BaseKey", p.BaseKey); err != nil {
			return err
		}
	}
	for _, c := range s.ReceiverChains {
		if err := checkChain(c); err != nil {
			return in("ReceiverChains", err)
		}
	}
	return nil
}

func checkChain(c *record.ChainStructure) error {
	if c == nil || c.ChainKey == nil || slices.Contains(c.MessageKeys, nil) {
		return badField("", "is missing")
	}
	return cmp.Or(
		checkPublic("SenderRatchetKeyPublic", c.SenderRatchetKeyPublic),
		checkLength("ChainKey.Key", c.ChainKey.Key, 32),
	)
}

// toNode makes libsignal's session record. now, in milliseconds, dates the newest
// session; older ones get earlier times, because libsignal orders them so.
func toNode(r *record.SessionStructure, me self, now int64) (out nodeRecord, left skipped, err error) {
	states := append([]*record.StateStructure{r.SessionState}, r.PreviousStates...)
	seen := map[string]bool{}
	out.Version = recordVersion
	for i, s := range states {
		name := base64.StdEncoding.EncodeToString(s.SenderBaseKey)
		if seen[name] {
			left.states++
			continue
		}
		seen[name] = true
		state, err := nodeStateOf(s, me, &left)
		if err != nil {
			return out, left, err
		}
		state.IndexInfo.Used, state.IndexInfo.Created, state.IndexInfo.Closed = now-int64(i), now-int64(i), now-int64(i)
		if i == 0 {
			state.IndexInfo.Closed = open
		}
		out.Sessions = append(ordered[nodeState]{{name, state}}, out.Sessions...)
	}
	return out, left, nil
}

func nodeStateOf(s *record.StateStructure, me self, left *skipped) (out nodeState, err error) {
	receivers, last := nodeReceivers(s)
	out.RegistrationID = s.RemoteRegistrationID
	ratchet := &out.CurrentRatchet
	ratchet.EphemeralKeyPair.PubKey = s.SenderChain.SenderRatchetKeyPublic
	ratchet.EphemeralKeyPair.PrivKey = s.SenderChain.SenderRatchetKeyPrivate
	ratchet.LastRemoteEphemeralKey = last
	ratchet.RootKey = s.RootKey
	if s.PreviousCounter != neverSent {
		ratchet.PreviousCounter = int64(s.PreviousCounter)
	}
	out.IndexInfo = nodeIndexInfo{BaseKey: s.SenderBaseKey, BaseKeyType: theirsOrReceiving, RemoteIdentityKey: s.RemoteIdentityPublic}
	if p := s.PendingPreKey; p != nil {
		out.IndexInfo.BaseKeyType = oursOrSending
		out.PendingPreKey = &nodePending{SignedKeyID: p.SignedPreKeyID, BaseKey: p.BaseKey}
		if p.PreKeyID != nil && !p.PreKeyID.IsEmpty {
			out.PendingPreKey.PreKeyID = &p.PreKeyID.Value
		}
	}
	for _, c := range receivers {
		if err := out.addChain(c, theirsOrReceiving, me, left); err != nil {
			return out, err
		}
	}
	return out, out.addChain(s.SenderChain, oursOrSending, me, left)
}

// nodeReceivers returns the chains that libsignal has, and the key of the newest.
// It has none for the peer's signed prekey, and would try to skip forward on it.
func nodeReceivers(s *record.StateStructure) (chains []*record.ChainStructure, last []byte) {
	last = s.SenderBaseKey
	if n := len(s.ReceiverChains); n > 0 {
		last = s.ReceiverChains[n-1].SenderRatchetKeyPublic
	}
	chains = s.ReceiverChains
	if len(chains) > 0 {
		first := chains[0]
		unused := first.ChainKey.Index == 0 && len(first.MessageKeys) == 0
		if unused && (s.PendingPreKey != nil || isNoKey(first.ChainKey.Key)) {
			chains = chains[1:]
		}
	}
	return chains, last
}

func (s *nodeState) addChain(c *record.ChainStructure, kind int, me self, left *skipped) error {
	name := base64.StdEncoding.EncodeToString(c.SenderRatchetKeyPublic)
	for _, other := range s.Chains {
		if other.name == name {
			return nil // whatsmeow finds the first of two
		}
	}
	chain := nodeChain{ChainType: kind, MessageKeys: map[string][]byte{}}
	chain.ChainKey.Counter = int64(c.ChainKey.Index) - 1
	if !isNoKey(c.ChainKey.Key) {
		chain.ChainKey.Key = bytes.Clone(c.ChainKey.Key)
	}
	for _, k := range c.MessageKeys {
		seed := me.placeholder(c.SenderRatchetKeyPublic, k.Index)
		made, err := messageKeys(seed, k.Index)
		if err != nil {
			return err
		}
		if !bytes.Equal(made.CipherKey, k.CipherKey) { // not one already
			left.messageKeys++
		}
		chain.MessageKeys[strconv.FormatUint(uint64(k.Index), 10)] = seed
	}
	s.Chains = append(s.Chains, member[nodeChain]{name, chain})
	return nil
}

// placeholder is what stands for the seed of a skipped message's key, which can't
// be found again from the keys that were made of it. It opens nothing, so the
// message is asked for again. Without it the message would be taken for one that
// was read before, and whatsmeow would drop it with a delivery receipt. Nobody else
// may know the seed: who does can forge the message.
func (me self) placeholder(ratchetKey []byte, counter uint32) []byte {
	mac := hmac.New(sha256.New, me.private)
	mac.Write([]byte("cloudsession lost message key"))
	mac.Write(ratchetKey)
	_ = binary.Write(mac, binary.BigEndian, counter) // a hash doesn't fail
	return mac.Sum(nil)
}
