package baileys

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/util/keys"
)

// The types below are written in the order in which Baileys writes its fields.

type plaintextOut struct {
	Creds     credsOut `json:"creds"`
	Timestamp int64    `json:"timestamp"` // milliseconds since 1970
}

type credsOut struct {
	NoiseKey                pairOut          `json:"noiseKey"`
	PairingEphemeralKeyPair pairOut          `json:"pairingEphemeralKeyPair"`
	SignedIdentityKey       pairOut          `json:"signedIdentityKey"`
	SignedPreKey            signedPreKeyOut  `json:"signedPreKey"`
	RegistrationID          uint32           `json:"registrationId"`
	AdvSecretKey            []byte           `json:"advSecretKey"`
	ProcessedHistory        []struct{}       `json:"processedHistoryMessages"`
	NextPreKeyID            uint32           `json:"nextPreKeyId"`
	FirstUnuploadedPreKeyID uint32           `json:"firstUnuploadedPreKeyId"`
	AccountSyncCounter      int              `json:"accountSyncCounter"`
	AccountSettings         accountSettings  `json:"accountSettings"`
	Registered              bool             `json:"registered"`
	Me                      meOut            `json:"me"`
	Account                 accountOut       `json:"account"`
	SignalIdentities        []signalIdentity `json:"signalIdentities,omitempty"`
	Platform                string           `json:"platform,omitempty"`
	MyAppStateKeyID         []byte           `json:"myAppStateKeyId,omitempty"`
}

type pairOut struct {
	Private buffer `json:"private"`
	Public  buffer `json:"public"`
}

type signedPreKeyOut struct {
	KeyPair   pairOut `json:"keyPair"`
	Signature buffer  `json:"signature"`
	KeyID     uint32  `json:"keyId"`
}

type accountSettings struct {
	UnarchiveChats bool `json:"unarchiveChats"`
}

type meOut struct {
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
	LID  string `json:"lid,omitempty"`
}

// accountOut has base64 strings: Baileys keeps the protobuf message there, whose
// own JSON form writes bytes so.
type accountOut struct {
	Details             []byte `json:"details"`
	AccountSignatureKey []byte `json:"accountSignatureKey"`
	AccountSignature    []byte `json:"accountSignature"`
	DeviceSignature     []byte `json:"deviceSignature"`
}

type signalIdentity struct {
	Identifier struct {
		Name     string `json:"name"`
		DeviceID int    `json:"deviceId"`
	} `json:"identifier"`
	IdentifierKey buffer `json:"identifierKey"`
}

// device is whatsmeow's device row (whatsmeow's
// store/sqlstore/upgrades/00-latest-schema.sql) and what else credentials hold.
type device struct {
	jid                 types.JID
	lid                 types.JID
	registrationID      uint32
	noise, identity     []byte // private keys
	signedPreKey        []byte // private key
	signedPreKeyID      uint32
	signedPreKeySig     []byte
	advKey              []byte
	account             accountOut
	platform, pushName  string
	maxPreKey           sql.NullInt64
	firstUnuploaded     sql.NullInt64
	newestAppStateKeyID []byte
}

// One statement, so that what it reads belongs together.
const selectDevice = `
	SELECT jid, lid, registration_id, noise_key, identity_key, signed_pre_key, signed_pre_key_id, signed_pre_key_sig,
		adv_key, adv_details, adv_account_sig_key, adv_account_sig, adv_device_sig, platform, push_name,
		(SELECT MAX(key_id) FROM whatsmeow_pre_keys p WHERE p.jid = d.jid),
		(SELECT MIN(key_id) FROM whatsmeow_pre_keys p WHERE p.jid = d.jid AND NOT uploaded),
		(SELECT key_id FROM whatsmeow_app_state_sync_keys k WHERE k.jid = d.jid ORDER BY timestamp DESC, key_id DESC LIMIT 1)
	FROM whatsmeow_device d LIMIT 2`

// Credentials returns the credentials' plaintext of the one device in db, with
// the time of now. Apart from that time, the same rows give the same bytes. It
// returns ErrNoDevice or ErrManyDevices if there isn't exactly one.
func Credentials(ctx context.Context, db *sql.DB) ([]byte, error) {
	return credentials(ctx, db, time.Now())
}

func credentials(ctx context.Context, db *sql.DB, now time.Time) ([]byte, error) {
	d, err := readDevice(ctx, db)
	if err != nil {
		return nil, fmt.Errorf("read credentials: %w", err)
	}
	creds, err := d.creds()
	if err != nil {
		return nil, fmt.Errorf("read credentials: %w", err)
	}
	text, err := json.Marshal(plaintextOut{creds, now.UnixMilli()})
	if err != nil {
		return nil, fmt.Errorf("encode credentials: %w", err)
	}
	return text, nil
}

// querier is a database or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func readDevice(ctx context.Context, db querier) (d device, err error) {
	rows, err := db.QueryContext(ctx, selectDevice)
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	n := 0
	for ; rows.Next(); n++ {
		err := rows.Scan(&d.jid, &d.lid, &d.registrationID, &d.noise, &d.identity, &d.signedPreKey, &d.signedPreKeyID, &d.signedPreKeySig,
			&d.advKey, &d.account.Details, &d.account.AccountSignatureKey, &d.account.AccountSignature, &d.account.DeviceSignature,
			&d.platform, &d.pushName, &d.maxPreKey, &d.firstUnuploaded, &d.newestAppStateKeyID)
		if err != nil {
			return d, err
		}
	}
	switch {
	case rows.Err() != nil:
		return d, rows.Err()
	case n == 0:
		return d, ErrNoDevice
	case n > 1:
		return d, ErrManyDevices
	}
	return d, nil
}

func (d device) creds() (credsOut, error) {
	for _, k := range [][]byte{d.noise, d.identity, d.signedPreKey} {
		if len(k) != 32 {
			return credsOut{}, fmt.Errorf("%w: key of %d bytes", ErrDamaged, len(k))
		}
	}
	pairing, err := hkdf.Key(sha256.New, d.noise, nil, "cloudsession pairing", 32)
	if err != nil {
		return credsOut{}, err
	}
	next := uint32(d.maxPreKey.Int64) + 1 //nolint:gosec // G115: the table's own check holds it under 2^24
	first := next
	if d.firstUnuploaded.Valid {
		first = uint32(d.firstUnuploaded.Int64) //nolint:gosec // G115: the table's own check holds it under 2^24
	}
	c := credsOut{
		NoiseKey:                pair(d.noise),
		PairingEphemeralKeyPair: pair(pairing),
		SignedIdentityKey:       pair(d.identity),
		SignedPreKey:            signedPreKeyOut{pair(d.signedPreKey), d.signedPreKeySig, d.signedPreKeyID},
		RegistrationID:          d.registrationID,
		AdvSecretKey:            d.advKey,
		ProcessedHistory:        []struct{}{},
		NextPreKeyID:            next,
		FirstUnuploadedPreKeyID: first,
		AccountSyncCounter:      1, // anything above 0 spares Baileys its wait for a first history
		Registered:              true,
		Me:                      meOut{d.jid.String(), d.pushName, d.lid.String()},
		Account:                 d.account,
		Platform:                d.platform,
		MyAppStateKeyID:         d.newestAppStateKeyID,
	}
	if !d.lid.IsEmpty() {
		id := signalIdentity{IdentifierKey: append(buffer{5}, d.account.AccountSignatureKey...)}
		id.Identifier.Name = d.lid.String()
		c.SignalIdentities = []signalIdentity{id}
	}
	return c, nil
}

func pair(private []byte) pairOut {
	k := keys.NewKeyPairFromPrivateKey([32]byte(private))
	return pairOut{k.Priv[:], k.Pub[:]}
}
