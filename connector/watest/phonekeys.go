package watest

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"

	"go.mau.fi/libsignal/ecc"
	"go.mau.fi/libsignal/keys/identity"
	"go.mau.fi/libsignal/keys/prekey"
	"go.mau.fi/libsignal/util/optional"
	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/util/keys"
)

// memoryStore keeps a phone's Signal state, serialized, behind the interfaces
// of whatsmeow's own stores.
type memoryStore struct {
	mu       sync.Mutex
	sessions map[string][]byte
	senders  map[string][]byte // by group and user
	oneTime  map[uint32]*keys.PreKey
	nextKey  uint32
}

var (
	_ store.IdentityStore  = (*memoryStore)(nil)
	_ store.SessionStore   = (*memoryStore)(nil)
	_ store.PreKeyStore    = (*memoryStore)(nil)
	_ store.SenderKeyStore = (*memoryStore)(nil)
)

func newMemoryStore() *memoryStore {
	return &memoryStore{
		sessions: make(map[string][]byte), senders: make(map[string][]byte),
		oneTime: make(map[uint32]*keys.PreKey),
	}
}

// device makes new long-term keys over this store.
func (m *memoryStore) device() *store.Device {
	key := keys.NewKeyPair()
	return &store.Device{
		IdentityKey: key, SignedPreKey: key.CreateSignedPreKey(1), RegistrationID: rand.Uint32(), //nolint:gosec // an id, not a secret
		Identities: m, Sessions: m, PreKeys: m, SenderKeys: m,
	}
}

// PutIdentity implements store.IdentityStore: identities are not remembered.
func (*memoryStore) PutIdentity(context.Context, string, [32]byte) error { return nil }

// DeleteAllIdentities implements store.IdentityStore.
func (*memoryStore) DeleteAllIdentities(context.Context, string) error { return nil }

// DeleteIdentity implements store.IdentityStore.
func (*memoryStore) DeleteIdentity(context.Context, string) error { return nil }

// IsTrustedIdentity implements store.IdentityStore: a phone's owner accepts
// that a peer's keys have changed.
func (*memoryStore) IsTrustedIdentity(context.Context, string, [32]byte) (bool, error) {
	return true, nil
}

// GetSession implements store.SessionStore.
func (m *memoryStore) GetSession(_ context.Context, address string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.sessions[address]), nil
}

// HasSession implements store.SessionStore.
func (m *memoryStore) HasSession(_ context.Context, address string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sessions[address] != nil, nil
}

// GetManySessions implements store.SessionStore.
func (m *memoryStore) GetManySessions(_ context.Context, addresses []string) (map[string][]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	found := make(map[string][]byte, len(addresses))
	for _, address := range addresses {
		found[address] = slices.Clone(m.sessions[address])
	}
	return found, nil
}

// PutSession implements store.SessionStore.
func (m *memoryStore) PutSession(_ context.Context, address string, session []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sessions[address] = slices.Clone(session)
	return nil
}

// PutManySessions implements store.SessionStore.
func (m *memoryStore) PutManySessions(_ context.Context, sessions map[string][]byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.Copy(m.sessions, sessions)
	return nil
}

// DeleteAllSessions implements store.SessionStore. Phones delete one by one.
func (*memoryStore) DeleteAllSessions(context.Context, string) error { return nil }

// DeleteSession implements store.SessionStore.
func (m *memoryStore) DeleteSession(_ context.Context, address string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.sessions, address)
	return nil
}

// MigratePNToLID implements store.SessionStore: sessions are by LID always.
func (*memoryStore) MigratePNToLID(context.Context, types.JID, types.JID) error { return nil }

// GetOrGenPreKeys implements store.PreKeyStore.
func (m *memoryStore) GetOrGenPreKeys(_ context.Context, count uint32) ([]*keys.PreKey, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	made := make([]*keys.PreKey, count)
	for i := range made {
		m.nextKey++
		made[i] = keys.NewPreKey(m.nextKey)
		m.oneTime[m.nextKey] = made[i]
	}
	return made, nil
}

// GenOnePreKey implements store.PreKeyStore.
func (m *memoryStore) GenOnePreKey(ctx context.Context) (*keys.PreKey, error) {
	made, err := m.GetOrGenPreKeys(ctx, 1)
	if err != nil {
		return nil, err
	}
	return made[0], nil
}

// GetPreKey implements store.PreKeyStore.
func (m *memoryStore) GetPreKey(_ context.Context, id uint32) (*keys.PreKey, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.oneTime[id], nil
}

// RemovePreKey implements store.PreKeyStore.
func (m *memoryStore) RemovePreKey(_ context.Context, id uint32) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.oneTime, id)
	return nil
}

// MarkPreKeysAsUploaded implements store.PreKeyStore.
func (*memoryStore) MarkPreKeysAsUploaded(context.Context, uint32) error { return nil }

// UploadedPreKeyCount implements store.PreKeyStore.
func (m *memoryStore) UploadedPreKeyCount(context.Context) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.oneTime), nil
}

// PutSenderKey implements store.SenderKeyStore.
func (m *memoryStore) PutSenderKey(_ context.Context, group, user string, key []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.senders[group+" "+user] = slices.Clone(key)
	return nil
}

// GetSenderKey implements store.SenderKeyStore.
func (m *memoryStore) GetSenderKey(_ context.Context, group, user string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.senders[group+" "+user]), nil
}

// bundle is the public half of the phone's long-term keys.
func (p *Phone) bundle() bundle {
	signed := p.signal.SignedPreKey
	return bundle{
		registration: p.signal.RegistrationID, identity: *p.signal.IdentityKey.Pub,
		signed: signedKey{id: signed.KeyID, public: *signed.Pub, signature: *signed.Signature},
	}
}

// refillLocked uploads one-time prekeys for the phone.
func (p *Phone) refillLocked(d *device) {
	const refill = 50
	// The memory store does not fail.
	made, _ := p.keys.GetOrGenPreKeys(context.Background(), refill)
	for _, key := range made {
		d.bundle.add(oneTimeKey{id: key.KeyID, public: *key.Pub})
	}
}

// preKeyBundle turns a bundle into what libsignal builds sessions from.
func (b *bundle) preKeyBundle(device uint16, key oneTimeKey, withKey bool) *prekey.Bundle {
	id, public := optional.NewEmptyUint32(), ecc.ECPublicKeyable(nil)
	if withKey {
		id, public = optional.NewOptionalUint32(key.id), ecc.NewDjbECPublicKey(key.public)
	}
	return prekey.NewBundle(b.registration, uint32(device), id, b.signed.id, public,
		ecc.NewDjbECPublicKey(b.signed.public), b.signed.signature,
		identity.NewKey(ecc.NewDjbECPublicKey(b.identity)))
}

// ForgetSessions deletes the phone's pairwise sessions, as a phone set up anew
// has none: what comes in under them has to be asked for again.
func (p *Phone) ForgetSessions() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys.mu.Lock()
	defer p.keys.mu.Unlock()
	clear(p.keys.sessions)
}
