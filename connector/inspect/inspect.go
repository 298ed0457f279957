// Package inspect looks into the log of a session in the cloud: what rows there
// are (List), whether all of them are whole and in their places (Verify), and
// what state they hold (Dump, without keys and contents). It only reads.
//
// Each result has JSON tags and a method Text that writes it for people.
package inspect

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"cloudsession/connector/baileys"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/envelope"
	"cloudsession/shared/sessionlog"
)

// Store is what is read of the cloud; *cloudstore.Store has it. Errors are
// those of package cloudstore: ErrNotFound only for a clean "no such row".
type Store interface {
	Owner(ctx context.Context, sessionID string) (cloudstore.Owner, error)
	Epochs(ctx context.Context, sessionID string) ([]cloudstore.Epoch, error)                       // newest first
	Lineage(ctx context.Context, sessionID string, epoch uint64) ([]cloudstore.Epoch, error)        // newest first
	SegmentHeads(ctx context.Context, sessionID string, epoch uint64) ([]cloudstore.Segment, error) // without Data
	Segments(ctx context.Context, sessionID string, epoch, fromSeq, toSeq uint64) ([]cloudstore.Segment, error)
	Credentials(ctx context.Context, sessionID string) (cloudstore.Credentials, error)
}

// ErrUnknownSession means that the cloud has nothing under this id.
var ErrUnknownSession = errors.New("no such session in the cloud")

// Kinds of credentials row.
const (
	CredentialsSealed = "sealed" // ours
	CredentialsNode   = "node"   // written by the Node service
	CredentialsNone   = "none"
)

// session is what the tables say of a session besides its log.
type session struct {
	id             string
	owner          cloudstore.Owner // zero if it was never taken
	credentials    []byte
	hasCredentials bool
}

func readSession(ctx context.Context, store Store, id string) (session, error) {
	s := session{id: id}
	owner, err := store.Owner(ctx, id)
	hasOwner := err == nil
	if err != nil && !errors.Is(err, cloudstore.ErrNotFound) {
		return s, fmt.Errorf("read owner of session %q: %w", id, err)
	}
	row, err := store.Credentials(ctx, id)
	if err != nil && !errors.Is(err, cloudstore.ErrNotFound) {
		return s, fmt.Errorf("read credentials of session %q: %w", id, err)
	}
	s.owner, s.credentials, s.hasCredentials = owner, row.Data, err == nil
	if !hasOwner && !s.hasCredentials {
		return s, fmt.Errorf("session %q: %w", id, ErrUnknownSession)
	}
	return s, nil
}

// credentialsKind tells who wrote the credentials row.
func (s session) credentialsKind() string {
	switch {
	case !s.hasCredentials:
		return CredentialsNone
	case envelope.IsLegacy(s.credentials):
		return CredentialsNode
	}
	return CredentialsSealed
}

// openCredentials returns whose credentials the row holds.
func (s session) openCredentials(keys *envelope.Keyring) (baileys.Identity, error) {
	if s.credentialsKind() == CredentialsNode {
		text, err := keys.OpenLegacy(s.id, s.credentials)
		if err != nil {
			return baileys.Identity{}, err
		}
		return baileys.Describe(text)
	}
	opened, err := keys.Open(envelope.CredentialsPosition(s.id), s.credentials)
	if err != nil {
		return baileys.Identity{}, fmt.Errorf("open credentials: %w", err)
	}
	if opened.Kind != envelope.KindCredentials {
		return baileys.Identity{}, fmt.Errorf("open credentials: a %v: %w", opened.Kind, envelope.ErrTampered)
	}
	return baileys.Describe(opened.Plaintext)
}

// fetch reads a session's lineage, oldest epoch first: all of it, or, for a
// restore, back to the newest epoch that holds a complete base.
func (s session) fetch(ctx context.Context, store Store, all bool) ([]sessionlog.EpochRows, error) {
	if s.owner.Epoch == 0 {
		return nil, nil
	}
	epochs, err := store.Lineage(ctx, s.id, s.owner.Epoch)
	if err != nil {
		return nil, fmt.Errorf("read lineage of session %q: %w", s.id, err)
	}
	var lineage []sessionlog.EpochRows
	limit := uint64(math.MaxUint64)
	for _, e := range epochs {
		to := limit
		if to != math.MaxUint64 {
			to++ // the terminator, to verify a seal
		}
		rows, err := store.Segments(ctx, s.id, e.Epoch, 1, to)
		if err != nil {
			return nil, fmt.Errorf("read log of session %q: %w", s.id, err)
		}
		lineage = append(lineage, sessionlog.EpochRows{
			Epoch: e.Epoch, ParentEpoch: e.ParentEpoch, ParentSeq: e.ParentSeq, Start: e.Start, Segments: rows,
		})
		if !all && hasBase(rows, limit) {
			break
		}
		limit = e.ParentSeq
	}
	slices.Reverse(lineage)
	return lineage, nil
}

// hasBase reports whether rows hold a complete base up to limit. It only saves
// reading further: package sessionlog decides.
func hasBase(rows []cloudstore.Segment, limit uint64) bool {
	run := uint16(0)
	for i := range rows {
		r := &rows[i]
		if r.Seq > limit || r.Kind.IsTerminator() {
			break
		}
		switch {
		case r.Kind == cloudstore.KindBase && r.Part == run+1 && (run == 0 || rows[i-1].Seq+1 == r.Seq):
			run++
		case r.Kind == cloudstore.KindBase && r.Part == 1:
			run = 1
		default:
			run = 0
		}
		if run > 0 && run == r.Parts {
			return true
		}
	}
	return false
}
