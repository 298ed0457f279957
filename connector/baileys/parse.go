package baileys

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/util/keys"
	"google.golang.org/protobuf/proto"
)

type plaintextIn struct {
	Creds     *credsIn    `json:"creds"`
	Timestamp *float64    `json:"timestamp"`
	AppState  *appStateIn `json:"appState"`
}

type credsIn struct {
	NoiseKey          pairIn `json:"noiseKey"`
	SignedIdentityKey pairIn `json:"signedIdentityKey"`
	SignedPreKey      struct {
		KeyPair   pairIn  `json:"keyPair"`
		Signature bytesIn `json:"signature"`
		KeyID     uint32  `json:"keyId"`
	} `json:"signedPreKey"`
	RegistrationID *uint32 `json:"registrationId"`
	AdvSecretKey   bytesIn `json:"advSecretKey"`
	Me             *struct {
		ID   string `json:"id"`
		Name string `json:"name"`
		LID  string `json:"lid"`
	} `json:"me"`
	Account *struct {
		Details             bytesIn `json:"details"`
		AccountSignatureKey bytesIn `json:"accountSignatureKey"`
		AccountSignature    bytesIn `json:"accountSignature"`
		DeviceSignature     bytesIn `json:"deviceSignature"`
	} `json:"account"`
	Platform        string  `json:"platform"`
	MyAppStateKeyID bytesIn `json:"myAppStateKeyId"`
}

type pairIn struct {
	Private bytesIn `json:"private"`
	Public  bytesIn `json:"public"`
}

// appStateIn is one app-state sync key. Node writes the 64-bit timestamp as a
// string.
type appStateIn struct {
	KeyData     bytesIn `json:"keyData"`
	Fingerprint struct {
		RawID         *uint32  `json:"rawId"`
		CurrentIndex  *uint32  `json:"currentIndex"`
		DeviceIndexes []uint32 `json:"deviceIndexes"`
	} `json:"fingerprint"`
	Timestamp json.RawMessage `json:"timestamp"`
}

// appStateKey is a row of whatsmeow_app_state_sync_keys.
type appStateKey struct {
	id, data, fingerprint []byte
	timestamp             int64
}

// Identity is who a session's credentials belong to, without any key.
type Identity struct {
	JID      string `json:"jid"`
	LID      string `json:"lid,omitempty"`
	PushName string `json:"push_name,omitempty"`
	Platform string `json:"platform,omitempty"`
}

// Describe returns whose credentials plaintext holds. It returns ErrDamaged or
// ErrUnpaired like InsertDevice.
func Describe(plaintext []byte) (Identity, error) {
	d, _, err := parse(plaintext)
	if err != nil {
		return Identity{}, fmt.Errorf("parse credentials: %w", err)
	}
	return Identity{d.jid.String(), d.lid.String(), d.pushName, d.platform}, nil
}

// parse reads a plaintext. The key is nil if there is none to be read.
func parse(plaintext []byte) (device, *appStateKey, error) {
	var in plaintextIn
	if err := json.Unmarshal(plaintext, &in); err != nil {
		// The JSON error would quote from the text, which is secret.
		if errors.Is(err, ErrDamaged) {
			return device{}, nil, err
		}
		return device{}, nil, ErrDamaged
	}
	if in.Creds == nil || in.Timestamp == nil {
		return device{}, nil, fmt.Errorf("%w: creds or timestamp is missing", ErrDamaged)
	}
	d, err := in.Creds.device()
	if err != nil {
		return device{}, nil, err
	}
	if in.AppState == nil || len(in.Creds.MyAppStateKeyID) == 0 {
		return d, nil, nil
	}
	key, err := in.AppState.key(in.Creds.MyAppStateKeyID)
	return d, key, err
}

func (c *credsIn) device() (device, error) {
	if err := c.checkKeys(); err != nil {
		return device{}, err
	}
	if c.Me == nil || c.Me.ID == "" || c.Account == nil {
		return device{}, ErrUnpaired
	}
	jid, lid, err := addresses(c.Me.ID, c.Me.LID)
	if err != nil {
		return device{}, err
	}
	a := accountOut{c.Account.Details, c.Account.AccountSignatureKey, c.Account.AccountSignature, c.Account.DeviceSignature}
	if len(a.Details) == 0 || len(a.AccountSignatureKey) != 32 || len(a.AccountSignature) != 64 || len(a.DeviceSignature) != 64 {
		return device{}, fmt.Errorf("%w: account", ErrDamaged)
	}
	return device{
		jid: jid, lid: lid, registrationID: *c.RegistrationID,
		noise: c.NoiseKey.Private, identity: c.SignedIdentityKey.Private,
		signedPreKey: c.SignedPreKey.KeyPair.Private, signedPreKeyID: c.SignedPreKey.KeyID, signedPreKeySig: c.SignedPreKey.Signature,
		advKey: c.AdvSecretKey, account: a, platform: c.Platform, pushName: c.Me.Name,
	}, nil
}

func (c *credsIn) checkKeys() error {
	for _, k := range []struct {
		name string
		pairIn
	}{{"noiseKey", c.NoiseKey}, {"signedIdentityKey", c.SignedIdentityKey}, {"signedPreKey", c.SignedPreKey.KeyPair}} {
		if len(k.Private) != 32 || string(k.Public) != string(keys.NewKeyPairFromPrivateKey([32]byte(k.Private)).Pub[:]) {
			return fmt.Errorf("%w: %s", ErrDamaged, k.name)
		}
	}
	switch {
	case len(c.SignedPreKey.Signature) != 64 || c.SignedPreKey.KeyID >= 1<<24:
		return fmt.Errorf("%w: signedPreKey", ErrDamaged)
	case c.RegistrationID == nil:
		return fmt.Errorf("%w: registrationId", ErrDamaged)
	case len(c.AdvSecretKey) != 32:
		return fmt.Errorf("%w: advSecretKey", ErrDamaged)
	}
	return nil
}

// addresses parses me.id and me.lid. whatsmeow wants the device in both.
func addresses(id, lidText string) (jid, lid types.JID, err error) {
	jid, err = types.ParseJID(id)
	if err != nil || jid.User == "" || jid.Device == 0 || jid.Server != types.DefaultUserServer && jid.Server != types.HostedServer {
		return jid, lid, fmt.Errorf("%w: me.id", ErrDamaged)
	}
	if lidText == "" {
		return jid, lid, nil
	}
	lid, err = types.ParseJID(lidText)
	if err != nil || lid.User == "" || lid.Server != types.HiddenUserServer && lid.Server != types.HostedLIDServer {
		return jid, lid, fmt.Errorf("%w: me.lid", ErrDamaged)
	}
	if lid.Device == 0 {
		lid.Device = jid.Device
	}
	return jid, lid, nil
}

// key makes the row of the key with an id.
func (a appStateIn) key(id []byte) (*appStateKey, error) {
	text := string(a.Timestamp)
	if s, err := strconv.Unquote(text); err == nil {
		text = s
	}
	timestamp, err := strconv.ParseInt(text, 10, 64)
	if err != nil || len(a.KeyData) == 0 {
		return nil, fmt.Errorf("%w: appState", ErrDamaged)
	}
	f := a.Fingerprint
	fingerprint, err := proto.MarshalOptions{Deterministic: true}.Marshal(&waE2E.AppStateSyncKeyFingerprint{
		RawID: f.RawID, CurrentIndex: f.CurrentIndex, DeviceIndexes: f.DeviceIndexes,
	})
	if err != nil {
		return nil, fmt.Errorf("encode fingerprint: %w", err)
	}
	return &appStateKey{id, a.KeyData, fingerprint, timestamp}, nil
}
