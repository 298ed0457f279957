package whatsapp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"

	"go.mau.fi/libsignal/state/record"
	"go.mau.fi/whatsmeow/store"
)

// whatsmeow encrypts in three places (sending, answering a retry request, writing to the own phone) that read a Signal
// session, encrypt, and write it back later, with only the first under a lock; and a decryption in between moves the
// session too. A write back of an old reading makes the next message reuse a message key, and the receiver drops it
// without a word. So a write that isn't a decryption's has to fit what is stored at that moment (W1).
//
// Decryptions need no such check: they read and write in one immediate transaction.

// ratchetError is a write that doesn't fit. The message was not sent; repeating the attempt reads the session anew.
// For whatsmeow's retry handler it looks cancelled, so that the request isn't acknowledged and comes again.
type ratchetError struct{ why string }

func (e *ratchetError) Error() string { return "encrypt: " + ErrRatchet.Error() + ": " + e.why }

// Is implements the interface of errors.Is.
func (e *ratchetError) Is(target error) bool {
	return target == ErrRatchet || target == context.Canceled
}

// PutSession implements store.SessionStore.
func (s *guardedStore) PutSession(ctx context.Context, address string, session []byte) error {
	if isDecrypting(ctx) {
		return s.guard.check(ctx, "write signal session", s.AllSessionSpecificStores.PutSession(ctx, address, session))
	}
	return s.putEncrypted(ctx, map[string][]byte{address: session})
}

// PutManySessions implements store.SessionStore.
func (s *guardedStore) PutManySessions(ctx context.Context, sessions map[string][]byte) error {
	if isDecrypting(ctx) {
		return s.guard.check(ctx, "write signal sessions", s.AllSessionSpecificStores.PutManySessions(ctx, sessions))
	}
	return s.putEncrypted(ctx, sessions)
}

// putEncrypted writes sessions after an encryption, all or none. DoDecryptionTxn is the store's plain transaction.
func (s *guardedStore) putEncrypted(ctx context.Context, sessions map[string][]byte) error {
	addresses := make([]string, 0, len(sessions))
	for address := range sessions {
		addresses = append(addresses, address)
	}
	trace, isSend := ctx.Value(sending{}).(*sendTrace)
	if !isSend {
		defer s.guard.turn.end() // which began with reading the session
	} else if s.guard.turn.take(ctx) {
		defer s.guard.turn.give()
	}
	err := s.AllSessionSpecificStores.DoDecryptionTxn(ctx, func(ctx context.Context) error {
		stored, err := s.AllSessionSpecificStores.GetManySessions(ctx, addresses)
		if err != nil {
			return err
		}
		advanced := make(map[string][]byte, len(sessions))
		for address, session := range sessions {
			if s.guard.testWithout == "W1" {
				advanced[address] = session
			} else if advanced[address], err = advance(stored[address], session); err != nil {
				return err
			}
		}
		return s.AllSessionSpecificStores.PutManySessions(ctx, advanced)
	})
	switch {
	case errors.Is(err, ErrRatchet):
		s.guard.log.Warn("signal session moved while encrypting, attempt given up", "error", err)
		if !isSend { // a send repeats its attempt by itself; a retry request has to come again
			s.guard.abandon(ctx, "signal session moved while answering")
		}
		return err
	case err != nil:
		return s.guard.check(ctx, "write signal sessions", err)
	}
	if isSend {
		for _, address := range addresses {
			trace.wrote(address)
		}
	}
	return nil
}

// advance returns what to store in place of stored when an encryption wants to write session.
//
//   - The sender chain is the stored one advanced by exactly one: the stored session with that sender chain. A message
//     received in between has only moved the receiving side, which is kept.
//   - A new session, built from a prekey bundle on top of the stored one or of none: as it is.
//
// Everything else is a ratchetError.
func advance(stored, session []byte) ([]byte, error) {
	serializer := store.SignalProtobufSerializer.Session
	now, err := serializer.Deserialize(session)
	if err != nil {
		return nil, fmt.Errorf("read new signal session: %w", err)
	}
	if now.SessionState == nil || now.SessionState.SenderChain == nil || now.SessionState.SenderChain.ChainKey == nil {
		return nil, &ratchetError{"the new state has no sender chain"}
	}
	if len(stored) == 0 {
		if now.SessionState.SenderChain.ChainKey.Index > 1 {
			return nil, &ratchetError{"the session was deleted or moved to another address"}
		}
		return session, nil
	}
	was, err := serializer.Deserialize(stored)
	if err != nil {
		return nil, fmt.Errorf("read stored signal session: %w", err)
	}
	if was.SessionState == nil || was.SessionState.SenderChain == nil {
		return session, nil
	}
	if !bytes.Equal(was.SessionState.SenderBaseKey, now.SessionState.SenderBaseKey) {
		return session, checkNewSession(was, now)
	}
	from, to := was.SessionState.SenderChain, now.SessionState.SenderChain
	if !bytes.Equal(from.SenderRatchetKeyPublic, to.SenderRatchetKeyPublic) {
		return nil, &ratchetError{"a received message has started another sender chain"}
	}
	if from.ChainKey == nil || to.ChainKey.Index != from.ChainKey.Index+1 {
		return nil, &ratchetError{"the sender chain was not advanced by one"}
	}
	was.SessionState.SenderChain = to
	return serializer.Serialize(was), nil
}

// checkNewSession accepts a session that was built from a bundle and has archived exactly the stored state.
func checkNewSession(was, now *record.SessionStructure) error {
	if now.SessionState.SenderChain.ChainKey.Index > 1 {
		return &ratchetError{"another session has been in use meanwhile"}
	}
	if len(now.PreviousStates) == 0 || !reflect.DeepEqual(now.PreviousStates[0], was.SessionState) {
		return &ratchetError{"a new session was built on an old state"}
	}
	return nil
}
