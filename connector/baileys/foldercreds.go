package baileys

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"go.mau.fi/libsignal/ecc"
	"go.mau.fi/whatsmeow/proto/waAdv"
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/util/keys"
	"google.golang.org/protobuf/proto"
)

// folderCreds is what a folder needs of creds.json beyond the credentials.
type folderCreds struct {
	credsIn
	NextPreKeyID            uint32 `json:"nextPreKeyId"`
	FirstUnuploadedPreKeyID uint32 `json:"firstUnuploadedPreKeyId"`
	SignalIdentities        []struct {
		IdentifierKey bytesIn `json:"identifierKey"`
	} `json:"signalIdentities"`
}

// readCreds reads creds.json.
func (f *Folder) readCreds(data []byte, p *problems) {
	var c folderCreds
	if err := decode(data, &c); err != nil {
		if bad, ok := errors.AsType[*fieldError](err); ok {
			field := strings.TrimPrefix(bad.field, "credsIn.") // the embedded struct's name
			err = &fieldError{cmp.Or(field, badMember(data)), bad.text}
		}
		p.addError(credsFile, err)
		return
	}
	d, err := c.device()
	switch {
	case errors.Is(err, ErrUnpaired):
		p.add(ErrUnpaired, credsFile, "", "has no account: this identity was never paired")
		return
	case err != nil:
		p.add(ErrDamaged, credsFile, "", "can't be used: %v", err)
		return
	}
	if c.NextPreKeyID > 1<<24 || c.FirstUnuploadedPreKeyID > 1<<24 {
		p.add(ErrDamaged, credsFile, "nextPreKeyId", "is out of range")
		return
	}
	f.device, f.myAppStateKeyID = d, c.MyAppStateKeyID
	f.nextPreKeyID, f.firstUnuploaded = c.NextPreKeyID, c.FirstUnuploadedPreKeyID
	c.match(p)
}

// badMember returns the name of the first member of creds.json that can't be read.
func badMember(data []byte) string {
	var members map[string]json.RawMessage
	if json.Unmarshal(data, &members) != nil {
		return ""
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		one, err := json.Marshal(map[string]json.RawMessage{name: members[name]})
		if err == nil && json.Unmarshal(one, new(folderCreds)) != nil {
			return name
		}
	}
	return ""
}

// match checks that the parts of creds.json were made for each other: each of
// these holds from pairing on.
func (c *folderCreds) match(p *problems) {
	identity := keys.NewKeyPairFromPrivateKey([32]byte(c.SignedIdentityKey.Private)).Pub[:]
	if !verify(identity, append([]byte{keyType}, c.SignedPreKey.KeyPair.Public...), c.SignedPreKey.Signature) {
		p.add(ErrMismatch, credsFile, "signedPreKey.signature", "was not made with signedIdentityKey")
	}
	a := c.Account
	var details waAdv.ADVDeviceIdentity
	prefix := []byte{6, 0}
	if err := proto.Unmarshal(a.Details, &details); err != nil {
		p.add(ErrDamaged, credsFile, "account.details", "can't be decoded")
		return
	}
	if details.GetDeviceType() == waAdv.ADVEncryptionType_HOSTED {
		prefix = []byte{6, 5}
	}
	if !verify(a.AccountSignatureKey, slices.Concat(prefix, a.Details, identity), a.AccountSignature) {
		p.add(ErrMismatch, credsFile, "account.accountSignature", "was not made for signedIdentityKey")
	}
	own := append([]byte{keyType}, a.AccountSignatureKey...)
	for i, id := range c.SignalIdentities {
		// Each pairing adds one, so the last is the account's.
		if i == len(c.SignalIdentities)-1 && !bytes.Equal(id.IdentifierKey, own) {
			p.add(ErrMismatch, credsFile, "signalIdentities", "has another key than account.accountSignatureKey")
		}
	}
}

func verify(public, message, signature []byte) bool {
	return len(public) == 32 && len(signature) == 64 &&
		ecc.VerifySignature(ecc.NewDjbECPublicKey([32]byte(public)), message, [64]byte(signature))
}

// match checks that the other files are about the account in creds.json.
func (f *Folder) match(p *problems) {
	d := f.device
	if lid, ok := f.lids.lids[d.jid.User]; ok && !d.lid.IsEmpty() && lid != d.lid.User {
		p.add(ErrMismatch, fileName(kindLIDMapping, d.jid.User), "", "names another LID than me.lid in creds.json")
	}
	if pn, ok := f.lids.pns[d.lid.User]; ok && pn != d.jid.User {
		p.add(ErrMismatch, fileName(kindLIDMapping, d.lid.User+reverseSuffix), "", "names another number than me.id in creds.json")
	}
	for _, jid := range []types.JID{d.jid, d.lid} {
		if jid.IsEmpty() {
			continue
		}
		phone, ok := parseSignalAddress(jid.ToNonAD().SignalAddress().String())
		if !ok {
			continue
		}
		if key := f.identities[phone]; key != nil && !bytes.Equal(key, d.account.AccountSignatureKey) {
			p.add(ErrMismatch, fileName(kindIdentity, phone.node()), "", "is not the key of the account in creds.json")
		}
		if s := f.sessions[phone].openState(); s != nil && !bytes.Equal(s.IndexInfo.RemoteIdentityKey[1:], d.account.AccountSignatureKey) {
			p.add(ErrMismatch, fileName(kindSession, phone.node()), "indexInfo.remoteIdentityKey", "is not the key of the account in creds.json")
		}
	}
}
