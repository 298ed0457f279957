package sessionlog

import (
	"fmt"
	"math"

	"cloudsession/shared/cloudstore"
	"cloudsession/shared/envelope"
)

// Cursor names a data row: the last one written or read. Seq 0 means that the
// epoch has none yet; Tag is then the tag of the last data row of the lineage
// before it, zero if there is none.
type Cursor struct {
	Epoch, Seq uint64
	Tag        [32]byte
}

// MaxPush is the largest encoded push.
const MaxPush = 256 << 20

// Seal cuts an encoded push into parts and seals them into the rows that
// follow after: 1 to 65,535 rows, each at most 1 MiB. It returns ErrTooLarge
// for a push that doesn't fit.
func Seal(keys *envelope.Keyring, sessionID string, salt envelope.Salt, after Cursor, push []byte, base bool) ([]cloudstore.Segment, error) {
	return seal(keys, sessionID, salt, after, push, base, envelope.MaxBody)
}

// seal is Seal with the size of the pieces, so that tests can cut small pushes.
func seal(keys *envelope.Keyring, sessionID string, salt envelope.Salt, after Cursor, push []byte, base bool, size int) ([]cloudstore.Segment, error) {
	if len(push) > MaxPush {
		return nil, fmt.Errorf("seal push of session %q: %w", sessionID, ErrTooLarge)
	}
	bodies := split(after, push, base, size)
	if len(bodies) > math.MaxUint16 {
		return nil, fmt.Errorf("seal push of session %q: %w", sessionID, ErrTooLarge)
	}
	kind, column := envelope.KindDelta, cloudstore.KindDelta
	if base {
		kind, column = envelope.KindBase, cloudstore.KindBase
	}
	segs := make([]cloudstore.Segment, len(bodies))
	prev := after.Tag
	if base {
		prev = [32]byte{} // see SPEC.md, "The chain"
	}
	for i, body := range bodies {
		seg := cloudstore.Segment{
			SessionID: sessionID, Epoch: after.Epoch, Seq: after.Seq + 1 + uint64(i),
			Kind: column, Part: uint16(i + 1), Parts: uint16(len(bodies)), //nolint:gosec // G115: len(bodies) was checked above
		}
		var err error
		seg.Data, seg.Tag, err = keys.Seal(kind, base, position(&seg, prev), salt, body)
		if err != nil {
			return nil, fmt.Errorf("seal push of session %q: %w", sessionID, err)
		}
		segs[i], prev = seg, seg.Tag
	}
	return segs, nil
}

// split returns the bodies of a push's parts.
func split(after Cursor, push []byte, base bool, size int) [][]byte {
	if base {
		stream := make([]byte, 0, len(after.Tag)+len(push)/2)
		stream = append(stream, after.Tag[:]...)
		push = compress(stream, push)
	}
	var bodies [][]byte
	for len(push) > size {
		bodies = append(bodies, push[:size])
		push = push[size:]
	}
	return append(bodies, push)
}

// SealTerminator returns the row that ends an epoch: its owner's word that the
// socket is closed and everything is pushed.
func SealTerminator(keys *envelope.Keyring, sessionID string, salt envelope.Salt, after Cursor) (cloudstore.Segment, error) {
	seg := cloudstore.Segment{
		SessionID: sessionID, Epoch: after.Epoch, Seq: after.Seq + 1,
		Kind: cloudstore.KindSeal, Part: 1, Parts: 1,
	}
	var err error
	seg.Data, seg.Tag, err = keys.Seal(envelope.KindSeal, false, position(&seg, after.Tag), salt, nil)
	if err != nil {
		return cloudstore.Segment{}, fmt.Errorf("seal log of session %q: %w", sessionID, err)
	}
	return seg, nil
}

// VerifySeal checks that seg is a seal that the owner of its epoch wrote behind
// the data row with the tag prev. The error is one of this package's.
func VerifySeal(keys *envelope.Keyring, seg cloudstore.Segment, prev [32]byte) error {
	if seg.Kind != cloudstore.KindSeal || seg.Part != 1 || seg.Parts != 1 {
		return at(&seg, fmt.Errorf("%w: a %s is no seal", ErrTampered, seg.Kind))
	}
	if err := checkColumns(&seg); err != nil {
		return err
	}
	opened, err := keys.Open(position(&seg, prev), seg.Data)
	if err != nil {
		return at(&seg, named(err))
	}
	if len(opened.Plaintext) != 0 {
		return at(&seg, fmt.Errorf("%w: seal with contents", ErrMalformed))
	}
	return nil
}

// checkColumns compares the columns of a row with what its envelope says of
// itself, so that the columns can be relied on before anything is opened.
func checkColumns(seg *cloudstore.Segment) error {
	kind, err := envelope.KindOf(seg.Data)
	if err != nil {
		return at(seg, named(err))
	}
	tag, err := envelope.Tag(seg.Data)
	switch {
	case err != nil:
		return at(seg, named(err))
	case string(seg.Kind) != kind.String():
		return at(seg, fmt.Errorf("%w: the row says %s, its envelope %v", ErrTampered, seg.Kind, kind))
	case seg.Tag != tag:
		return at(seg, fmt.Errorf("%w: column tag differs from the envelope's", ErrTampered))
	}
	return nil
}

func position(seg *cloudstore.Segment, prev [32]byte) envelope.Position {
	return envelope.Position{
		SessionID: seg.SessionID, Epoch: seg.Epoch, Seq: seg.Seq,
		Part: seg.Part, Parts: seg.Parts, PrevTag: prev,
	}
}
