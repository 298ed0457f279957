package baileys

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"go.mau.fi/whatsmeow/types"
)

const (
	// The statements follow whatsmeow's own (store/sqlstore/container.go and
	// store.go), without their ON CONFLICT clauses.
	insertDevice = `
		INSERT INTO whatsmeow_device (jid, lid, registration_id, noise_key, identity_key,
			signed_pre_key, signed_pre_key_id, signed_pre_key_sig,
			adv_key, adv_details, adv_account_sig, adv_account_sig_key, adv_device_sig, platform, push_name)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	insertIdentity    = `INSERT INTO whatsmeow_identity_keys (our_jid, their_id, identity) VALUES (?, ?, ?)`
	insertLID         = `INSERT INTO whatsmeow_lid_map (lid, pn) VALUES (?, ?)`
	insertAppStateKey = `INSERT INTO whatsmeow_app_state_sync_keys (jid, key_id, key_data, timestamp, fingerprint) VALUES (?, ?, ?, ?, ?)`
)

// InsertDevice puts the device of a credentials' plaintext into an empty session
// file whose tables exist (whatsmeow's Container.Upgrade), in one transaction:
// the device, the account's identity key, the LID mapping, and an app-state key
// if the plaintext has one. There are no Signal sessions or prekeys in
// credentials: the session must be started safely.
//
// It returns ErrDamaged, ErrUnpaired for an identity that was never paired, and
// ErrDeviceExists rather than touch a file that has a device.
func InsertDevice(ctx context.Context, db *sql.DB, plaintext []byte) error {
	d, key, err := parse(plaintext)
	if err != nil {
		return fmt.Errorf("parse credentials: %w", err)
	}
	if err := insert(ctx, db, d, key); err != nil {
		return fmt.Errorf("insert device: %w", err)
	}
	return nil
}

func insert(ctx context.Context, db *sql.DB, d device, key *appStateKey) error {
	return inTx(ctx, db, nil, func(tx *sql.Tx) error {
		if err := insertCredentials(ctx, tx, d); err != nil || key == nil {
			return err
		}
		_, err := tx.ExecContext(ctx, insertAppStateKey, d.jid, key.id, key.data, key.timestamp, key.fingerprint)
		return err
	})
}

// inTx runs do in a transaction and commits it if do returns nil.
func inTx(ctx context.Context, db *sql.DB, o *sql.TxOptions, do func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, o)
	if err != nil {
		return err
	}
	if err := do(tx); err != nil {
		if e := tx.Rollback(); !errors.Is(e, sql.ErrTxDone) {
			err = errors.Join(err, e)
		}
		return err
	}
	return tx.Commit()
}

// insertCredentials inserts the device and what belongs to it, if there is none yet.
func insertCredentials(ctx context.Context, tx *sql.Tx, d device) error {
	var devices int
	if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM whatsmeow_device`).Scan(&devices); err != nil {
		return err
	}
	if devices > 0 {
		return ErrDeviceExists
	}
	a := d.account
	if _, err := tx.ExecContext(ctx, insertDevice, d.jid, d.lid, d.registrationID, d.noise, d.identity,
		d.signedPreKey, d.signedPreKeyID, d.signedPreKeySig,
		d.advKey, a.Details, a.AccountSignature, a.AccountSignatureKey, a.DeviceSignature, d.platform, d.pushName); err != nil {
		return err
	}
	return insertAddresses(ctx, tx, d)
}

// insertAddresses adds what whatsmeow stores besides the device when it pairs
// (handlePair in its pair.go).
func insertAddresses(ctx context.Context, tx *sql.Tx, d device) error {
	if d.lid.IsEmpty() {
		return nil
	}
	account := d.lid
	account.Device = 0
	if _, err := tx.ExecContext(ctx, insertIdentity, d.jid, account.SignalAddress().String(), d.account.AccountSignatureKey); err != nil {
		return err
	}
	if d.lid.Server != types.HiddenUserServer || d.jid.Server != types.DefaultUserServer {
		return nil
	}
	_, err := tx.ExecContext(ctx, insertLID, d.lid.User, d.jid.User)
	return err
}
