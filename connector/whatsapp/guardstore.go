package whatsapp

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/util/keys"
)

// guardedStore passes everything on to whatsmeow's store, notes errors of what decrypting and answering a message
// needs (W2), and lets a Signal session only be moved from where it stands (W1, ratchet.go).
type guardedStore struct {
	store.AllSessionSpecificStores
	guard *guard
}

// Signal sessions. Writes are in ratchet.go.

// GetSession implements store.SessionStore. Outside a decryption and a send, only an encryption asks for it.
func (s *guardedStore) GetSession(ctx context.Context, address string) ([]byte, error) {
	if !isDecrypting(ctx) && !isSending(ctx) && s.guard.testWithout != "W1" {
		if err := ctx.Err(); err != nil {
			return nil, err // it could not be sent: the chain is not to move for it
		}
		s.guard.turn.begin(ctx)
	}
	session, err := s.AllSessionSpecificStores.GetSession(ctx, address)
	return session, s.guard.check(ctx, "read signal session", err)
}

// HasSession implements store.SessionStore.
func (s *guardedStore) HasSession(ctx context.Context, address string) (bool, error) {
	has, err := s.AllSessionSpecificStores.HasSession(ctx, address)
	return has, s.guard.check(ctx, "read signal session", err)
}

// GetManySessions implements store.SessionStore.
func (s *guardedStore) GetManySessions(ctx context.Context, addresses []string) (map[string][]byte, error) {
	sessions, err := s.AllSessionSpecificStores.GetManySessions(ctx, addresses)
	return sessions, s.guard.check(ctx, "read signal sessions", err)
}

// DeleteSession implements store.SessionStore.
func (s *guardedStore) DeleteSession(ctx context.Context, address string) error {
	if !isDecrypting(ctx) && !isSending(ctx) {
		defer s.guard.turn.end() // what was read is of no use any more
	}
	return s.guard.check(ctx, "delete signal session", s.AllSessionSpecificStores.DeleteSession(ctx, address))
}

// MigratePNToLID implements store.SessionStore.
func (s *guardedStore) MigratePNToLID(ctx context.Context, pn, lid types.JID) error {
	return s.guard.check(ctx, "move signal sessions to LID", s.AllSessionSpecificStores.MigratePNToLID(ctx, pn, lid))
}

// Identities.

// PutIdentity implements store.IdentityStore.
func (s *guardedStore) PutIdentity(ctx context.Context, address string, key [32]byte) error {
	return s.guard.check(ctx, "write identity", s.AllSessionSpecificStores.PutIdentity(ctx, address, key))
}

// DeleteIdentity implements store.IdentityStore.
func (s *guardedStore) DeleteIdentity(ctx context.Context, address string) error {
	return s.guard.check(ctx, "delete identity", s.AllSessionSpecificStores.DeleteIdentity(ctx, address))
}

// IsTrustedIdentity implements store.IdentityStore.
func (s *guardedStore) IsTrustedIdentity(ctx context.Context, address string, key [32]byte) (bool, error) {
	trusted, err := s.AllSessionSpecificStores.IsTrustedIdentity(ctx, address, key)
	return trusted, s.guard.check(ctx, "read identity", err)
}

// Prekeys.

// GetPreKey implements store.PreKeyStore.
func (s *guardedStore) GetPreKey(ctx context.Context, id uint32) (*keys.PreKey, error) {
	key, err := s.AllSessionSpecificStores.GetPreKey(ctx, id)
	return key, s.guard.check(ctx, "read prekey", err)
}

// RemovePreKey implements store.PreKeyStore.
func (s *guardedStore) RemovePreKey(ctx context.Context, id uint32) error {
	return s.guard.check(ctx, "remove prekey", s.AllSessionSpecificStores.RemovePreKey(ctx, id))
}

// Sender keys.

// PutSenderKey implements store.SenderKeyStore.
func (s *guardedStore) PutSenderKey(ctx context.Context, group, user string, key []byte) error {
	return s.guard.check(ctx, "write sender key", s.AllSessionSpecificStores.PutSenderKey(ctx, group, user, key))
}

// GetSenderKey implements store.SenderKeyStore.
func (s *guardedStore) GetSenderKey(ctx context.Context, group, user string) ([]byte, error) {
	key, err := s.AllSessionSpecificStores.GetSenderKey(ctx, group, user)
	return key, s.guard.check(ctx, "read sender key", err)
}

// What else a message brings.

// PutAppStateSyncKey implements store.AppStateSyncKeyStore.
func (s *guardedStore) PutAppStateSyncKey(ctx context.Context, id []byte, key store.AppStateSyncKey) error {
	return s.guard.check(ctx, "write app state key", s.AllSessionSpecificStores.PutAppStateSyncKey(ctx, id, key))
}

// PutMessageSecret implements store.MsgSecretStore.
func (s *guardedStore) PutMessageSecret(ctx context.Context, chat, sender types.JID, id types.MessageID, secret []byte) error {
	return s.guard.check(ctx, "write message secret", s.AllSessionSpecificStores.PutMessageSecret(ctx, chat, sender, id, secret))
}

// PutBufferedEvent implements store.EventBuffer.
func (s *guardedStore) PutBufferedEvent(ctx context.Context, hash [32]byte, plaintext []byte, serverTime time.Time) error {
	return s.guard.check(ctx, "write event buffer", s.AllSessionSpecificStores.PutBufferedEvent(ctx, hash, plaintext, serverTime))
}

// ClearBufferedEventPlaintext comes after a message was handled. Over an abandoned connection it isn't acknowledged: it
// comes again, and needs the plaintext for what could not be stored of it.
func (s *guardedStore) ClearBufferedEventPlaintext(ctx context.Context, hash [32]byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.AllSessionSpecificStores.ClearBufferedEventPlaintext(ctx, hash)
}

// AddOutgoingEvent comes before a message is encrypted and written.
func (s *guardedStore) AddOutgoingEvent(ctx context.Context, chat types.JID, id types.MessageID, format string, plaintext []byte) error {
	if trace, ok := ctx.Value(sending{}).(*sendTrace); ok {
		trace.begin()
	}
	return s.AllSessionSpecificStores.AddOutgoingEvent(ctx, chat, id, format, plaintext)
}

// GetOutgoingEvent answers a retry request. On an error the request must come again; that there is no such message,
// which whatsmeow reports as sql.ErrNoRows, is an answer.
func (s *guardedStore) GetOutgoingEvent(ctx context.Context, chat, altChat types.JID, id types.MessageID) (string, []byte, error) {
	format, event, err := s.AllSessionSpecificStores.GetOutgoingEvent(ctx, chat, altChat, id)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil, err
	}
	return format, event, s.guard.check(ctx, "read retry buffer", err)
}
