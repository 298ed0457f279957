package watest

import (
	"encoding/binary"
	"slices"
	"strconv"

	"go.mau.fi/libsignal/ecc"
	"go.mau.fi/whatsmeow/types"
)

// lowPreKeys is the count of one-time prekeys below which the service tells a
// device to upload more: whatsmeow's MinPreKeyCount.
const lowPreKeys = 5

// bundle is what the service keeps of a device's Signal keys.
type bundle struct {
	registration uint32
	identity     [32]byte
	signed       signedKey
	oneTime      []oneTimeKey // handed out from the front, each once
}

type oneTimeKey struct {
	id     uint32 // 24 bits on the wire
	public [32]byte
}

type signedKey struct {
	id        uint32
	public    [32]byte
	signature [64]byte
}

func keyID(raw []byte) uint32 {
	if len(raw) != 3 {
		return 0
	}
	return uint32(raw[0])<<16 | uint32(raw[1])<<8 | uint32(raw[2])
}

func keyIDBytes(id uint32) []byte {
	return []byte{byte(id >> 16), byte(id >> 8), byte(id)}
}

func uint32Bytes(value uint32) []byte {
	return binary.BigEndian.AppendUint32(nil, value)
}

// encryptIQ serves the encrypt namespace: counts, uploads and bundles.
func (s *Service) encryptIQ(c *conn, request *node) node {
	child := firstChild(request)
	switch {
	case textAttr(request, "type") == "set" && hasChild(request, "rotate"):
		rotate := request.GetChildByTag("rotate")
		c.device.bundle.setSigned(rotate.GetChildByTag("skey"))
		return result(request)
	case textAttr(request, "type") == "set":
		return s.uploadLocked(c.device, request)
	case child.Tag == "count":
		return result(request, node{Tag: "count", Attrs: attrs{"value": strconv.Itoa(len(c.device.bundle.oneTime))}})
	case child.Tag == "digest":
		return result(request, c.device.bundle.digest())
	case child.Tag == "key":
		list := make([]node, 0, len(child.GetChildren()))
		for _, user := range child.GetChildren() {
			list = append(list, s.bundleLocked(c.device, jidAttr(&user, "jid")))
		}
		return result(request, node{Tag: "list", Content: list})
	default:
		return failed(request, 501, "feature-not-implemented")
	}
}

func firstChild(n *node) node {
	if children := n.GetChildren(); len(children) > 0 {
		return children[0]
	}
	return node{}
}

// uploadLocked stores prekeys. A key with an id the service still holds takes
// the place of that one.
func (s *Service) uploadLocked(d *device, request *node) node {
	list := request.GetChildByTag("list")
	keys := list.GetChildren()
	for _, key := range keys {
		id, public := childBytes(&key, "id"), childBytes(&key, "value")
		if len(id) != 3 || len(public) != 32 {
			return failed(request, 400, "bad-request")
		}
		d.bundle.add(oneTimeKey{id: keyID(id), public: [32]byte(public)})
	}
	d.bundle.setSigned(request.GetChildByTag("skey"))
	d.info.PreKeyUploads++
	d.info.PreKeysUploaded += len(keys)
	s.counts.PreKeyUploads++
	s.notifyLocked()
	return result(request)
}

func (b *bundle) add(key oneTimeKey) {
	i := slices.IndexFunc(b.oneTime, func(have oneTimeKey) bool { return have.id == key.id })
	if i >= 0 {
		b.oneTime[i] = key
		return
	}
	b.oneTime = append(b.oneTime, key)
}

func (b *bundle) setSigned(skey node) {
	id, public, signature := childBytes(&skey, "id"), childBytes(&skey, "value"), childBytes(&skey, "signature")
	if len(id) == 3 && len(public) == 32 && len(signature) == 64 {
		b.signed = signedKey{id: keyID(id), public: [32]byte(public), signature: [64]byte(signature)}
	}
}

// bundleLocked answers a request for one device's bundle and takes a one-time
// prekey out of it, unless a device asks for its own: clients do so on sends,
// and don't use it. Without one-time prekeys left the bundle goes without.
func (s *Service) bundleLocked(asking *device, jid types.JID) node {
	d := s.deviceLocked(jid)
	if d == nil {
		return node{Tag: "user", Attrs: attrs{"jid": jid}, Content: []node{
			{Tag: "error", Attrs: attrs{"code": "404", "text": "item-not-found"}},
		}}
	}
	content := append(d.bundle.common(), d.bundle.signed.node())
	if key, ok := s.oneTimeLocked(asking, d); ok {
		content = append(content, key.node())
	}
	return node{Tag: "user", Attrs: attrs{"jid": jid}, Content: content}
}

func (s *Service) oneTimeLocked(asking, d *device) (oneTimeKey, bool) {
	b := &d.bundle
	if d.isPhone() && len(b.oneTime) < lowPreKeys {
		d.account.phone.refillLocked(d)
	}
	if len(b.oneTime) == 0 {
		return oneTimeKey{}, false
	}
	key := b.oneTime[0]
	if asking == d {
		return key, true
	}
	b.oneTime = b.oneTime[1:]
	if len(b.oneTime) == lowPreKeys-1 && !d.isPhone() {
		// A device that is not connected asks for the count when it is.
		s.pushLiveLocked(d, node{
			Tag: "notification", Attrs: attrs{"type": "encrypt", "from": types.ServerJID, "id": s.nextIDLocked(), "t": now()},
			Content: []node{{Tag: "count", Attrs: attrs{"value": strconv.Itoa(len(b.oneTime))}}},
		})
	}
	return key, true
}

func (b *bundle) common() []node {
	return []node{
		{Tag: "registration", Content: uint32Bytes(b.registration)},
		{Tag: "type", Content: []byte{ecc.DjbType}},
		{Tag: "identity", Content: b.identity[:]},
	}
}

// digest lists what the service holds, for clients that compare.
func (b *bundle) digest() node {
	ids := make([]node, len(b.oneTime))
	for i, key := range b.oneTime {
		ids[i] = node{Tag: "id", Content: keyIDBytes(key.id)}
	}
	return node{Tag: "digest", Content: append(b.common(), b.signed.node(), node{Tag: "list", Content: ids})}
}

func (k oneTimeKey) node() node {
	return node{Tag: "key", Content: []node{
		{Tag: "id", Content: keyIDBytes(k.id)}, {Tag: "value", Content: k.public[:]},
	}}
}

func (k signedKey) node() node {
	return node{Tag: "skey", Content: []node{
		{Tag: "id", Content: keyIDBytes(k.id)},
		{Tag: "value", Content: k.public[:]},
		{Tag: "signature", Content: k.signature[:]},
	}}
}
