package rekey

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"cloudsession/connector/baileys"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/envelope"
)

// ErrOtherSecret means that a connector seals with another secret than the one a
// session is to be sealed with.
var ErrOtherSecret = errors.New("the connector's SESSION_ENCRYPTION_SECRET is not the one to rekey to")

// args are a rekey command's arguments. The key id stands in the clear in every
// row that is sealed; it keeps a command that was given with the wrong secret
// from changing anything.
type args struct {
	KeyID string `json:"key_id"`
}

// Args makes the arguments of a command that has a session sealed under the
// keyring's current secret.
func Args(keys *envelope.Keyring, sessionID string) json.RawMessage {
	id := keys.CurrentKeyID(sessionID)
	text, err := json.Marshal(args{hex.EncodeToString(id[:])})
	if err != nil {
		panic("rekey: " + err.Error()) // a struct of one string
	}
	return text
}

// Check returns ErrOtherSecret unless a command asks for the secret that the
// connector's keyring seals with.
func Check(keys *envelope.Keyring, sessionID string, arguments json.RawMessage) error {
	var a args
	if err := json.Unmarshal(arguments, &a); err != nil {
		return fmt.Errorf("read arguments of command: %w", err)
	}
	if id := keys.CurrentKeyID(sessionID); a.KeyID != hex.EncodeToString(id[:]) {
		return ErrOtherSecret
	}
	return nil
}

// ErrNoSecret means that none of the keyring's secrets opens a credentials row,
// or that it is damaged.
var ErrNoSecret = errors.New("no secret opens the credentials")

// Credentials seals the credentials row of a session anew that has no log, ours or
// the Node service's. cloudstore.ErrFenced when somebody uses the session
// meanwhile.
func Credentials(ctx context.Context, store *cloudstore.Store, keys *envelope.Keyring, sessionID string) error {
	row, err := store.Row(ctx, sessionID)
	if err != nil {
		return err
	}
	text, err := openRow(keys, row)
	if err != nil {
		return err
	}
	if _, err := baileys.Describe(text); err != nil {
		return err
	}
	data, _, err := keys.Seal(envelope.KindCredentials, false, envelope.CredentialsPosition(sessionID), envelope.NewSalt(), text)
	if err != nil {
		return fmt.Errorf("seal credentials: %w", err)
	}
	return store.Reseal(ctx, row, data)
}

func openRow(keys *envelope.Keyring, row cloudstore.Row) ([]byte, error) {
	if envelope.IsLegacy(row.Data) {
		text, err := keys.OpenLegacy(row.SessionID, row.Data)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNoSecret, err)
		}
		return text, nil
	}
	opened, err := keys.Open(envelope.CredentialsPosition(row.SessionID), row.Data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoSecret, err)
	}
	return opened.Plaintext, nil
}
