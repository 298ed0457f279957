package baileys

import (
	"bytes"
	"cmp"
	"encoding/base64"

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
	if c == nil || c.ChainKey == nil {
		return badField("", "is missing")
	}
	return cmp.Or(
		checkPublic("SenderRatchetKeyPublic", c.SenderRatchetKeyPublic),
		checkLength("ChainKey.Key", c.ChainKey.Key, 32),
	)
}

// toNode makes libsignal's session record. now, in milliseconds, dates the newest
// session; older ones get earlier times, because libsignal orders them so.
func toNode(r *record.SessionStructure, now int64) (nodeRecord, skipped) {
	var left skipped
	states := append([]*record.StateStructure{r.SessionState}, r.PreviousStates...)
	seen := map[string]bool{}
	out := nodeRecord{Version: recordVersion}
	for i, s := range states {
		name := base64.StdEncoding.EncodeToString(s.SenderBaseKey)
		if seen[name] {
			left.states++
			continue
		}
		seen[name] = true
		state := nodeStateOf(s, &left)
		state.IndexInfo.Used, state.IndexInfo.Created, state.IndexInfo.Closed = now-int64(i), now-int64(i), now-int64(i)
		if i == 0 {
			state.IndexInfo.Closed = open
		}
		out.Sessions = append(ordered[nodeState]{{name, state}}, out.Sessions...)
	}
	return out, left
}

func nodeStateOf(s *record.StateStructure, left *skipped) nodeState {
	receivers, last := nodeReceivers(s)
	out := nodeState{RegistrationID: s.RemoteRegistrationID}
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
		out.addChain(c, theirsOrReceiving, left)
	}
	out.addChain(s.SenderChain, oursOrSending, left)
	return out
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

func (s *nodeState) addChain(c *record.ChainStructure, kind int, left *skipped) {
	name := base64.StdEncoding.EncodeToString(c.SenderRatchetKeyPublic)
	for _, other := range s.Chains {
		if other.name == name {
			return // whatsmeow finds the first of two
		}
	}
	chain := nodeChain{ChainType: kind, MessageKeys: map[string][]byte{}}
	chain.ChainKey.Counter = int64(c.ChainKey.Index) - 1
	if !isNoKey(c.ChainKey.Key) {
		chain.ChainKey.Key = bytes.Clone(c.ChainKey.Key)
	}
	left.messageKeys += len(c.MessageKeys) // made from the seed that libsignal wants, which can't be found again
	s.Chains = append(s.Chains, member[nodeChain]{name, chain})
}
