package watest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.mau.fi/libsignal/protocol"
	"go.mau.fi/libsignal/session"
	"go.mau.fi/libsignal/signalerror"
	"go.mau.fi/libsignal/state/record"
	"go.mau.fi/libsignal/util/optional"
	"go.mau.fi/whatsmeow/store"
)

// maxStates is how many earlier states a session keeps: libsignal's number.
const maxStates = 40

// decryptPairwise decrypts a message of a pairwise session.
//
// It does what libsignal's Cipher does, but tries each of a session's states
// on a copy. The library tries them in place, so that a state that did not fit
// is stored damaged: two sides that open a session at the same moment, which
// leaves both with two states, would lose the way. A phone is not the one that
// shall be in the wrong here.
func (p *Phone) decryptPairwise(ctx context.Context, address *protocol.SignalAddress, kind string, ciphertext []byte) ([]byte, error) {
	serializer := store.SignalProtobufSerializer
	sessions, err := p.signal.LoadSession(ctx, address)
	if err != nil {
		return nil, err
	}
	builder := session.NewBuilderFromSignal(p.signal, address, serializer)
	message, used := (*protocol.SignalMessage)(nil), optional.NewEmptyUint32()
	if kind == "pkmsg" {
		opening, err := protocol.NewPreKeySignalMessageFromBytes(ciphertext, serializer.PreKeySignalMessage, serializer.SignalMessage)
		if err != nil {
			return nil, fmt.Errorf("read message: %w", err)
		}
		if used, err = builder.Process(ctx, sessions, opening); err != nil {
			return nil, fmt.Errorf("open session: %w", err)
		}
		message = opening.WhisperMessage()
	} else if message, err = protocol.NewSignalMessageFromBytes(ciphertext, serializer.SignalMessage); err != nil {
		return nil, fmt.Errorf("read message: %w", err)
	}
	if !sessions.SessionState().HasSenderChain() {
		return nil, signalerror.ErrNoSessionForUser
	}
	plaintext, after, err := tryStates(ctx, session.NewCipher(builder, address), sessions, message)
	if err != nil {
		return nil, err
	}
	if err := p.signal.StoreSession(ctx, address, after); err != nil {
		return nil, err
	}
	if !used.IsEmpty {
		return plaintext, p.signal.RemovePreKey(ctx, used.Value)
	}
	return plaintext, nil
}

// tryStates decrypts with the first state that fits and returns the session in
// which that state, moved on, is the current one.
func tryStates(ctx context.Context, cipher *session.Cipher, sessions *record.Session, message *protocol.SignalMessage) ([]byte, *record.Session, error) {
	serializer := store.SignalProtobufSerializer
	raw := sessions.Serialize()
	for i := range 1 + len(sessions.PreviousSessionStates()) {
		all, err := serializer.Session.Deserialize(raw)
		if err != nil {
			return nil, nil, fmt.Errorf("read session: %w", err)
		}
		states := append([]*record.StateStructure{all.SessionState}, all.PreviousStates...)
		one, err := record.NewSessionFromStructure(&record.SessionStructure{SessionState: states[i]}, serializer.Session, serializer.State)
		if err != nil {
			return nil, nil, fmt.Errorf("read session: %w", err)
		}
		plaintext, _, err := cipher.DecryptWithRecord(ctx, one, message)
		if errors.Is(err, signalerror.ErrOldCounter) {
			return nil, nil, err
		} else if err != nil {
			continue
		}
		others := slices.Delete(states, i, i+1)
		after, err := record.NewSessionFromStructure(&record.SessionStructure{
			SessionState: one.Structure().SessionState, PreviousStates: others[:min(len(others), maxStates)],
		}, serializer.Session, serializer.State)
		return plaintext, after, err
	}
	return nil, nil, signalerror.ErrNoValidSessions
}
