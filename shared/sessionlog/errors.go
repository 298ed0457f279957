package sessionlog

import (
	"errors"
	"fmt"

	"cloudsession/shared/cloudstore"
	"cloudsession/shared/envelope"
)

// What can be wrong with a log. Each error's text names session, epoch and seq
// of the first row that doesn't fit; SPEC.md, "Errors", says which is which.
var (
	ErrMissing     = errors.New("rows of the log are missing")
	ErrReordered   = errors.New("a row of the log stands in another row's place")
	ErrRepeated    = errors.New("a row of the log is repeated")
	ErrSwapped     = errors.New("a row belongs to another session")
	ErrTampered    = errors.New("a row of the log was altered")
	ErrWrongSecret = errors.New("wrong secret: a row is sealed with neither SESSION_ENCRYPTION_SECRET nor one of SESSION_ENCRYPTION_SECRET_PREVIOUS")
	ErrTwoSalts    = errors.New("a log may have two salts, this one has more")
	ErrNoBase      = errors.New("the log has no complete base to start from")
	ErrRowVersion  = errors.New("a row is of an unknown format version")
	ErrTooLarge    = errors.New("push is larger than 256 MiB")
)

// at names a place of a log in an error.
func at(seg *cloudstore.Segment, err error) error {
	return fmt.Errorf("session %q, epoch %d, seq %d: %w", seg.SessionID, seg.Epoch, seg.Seq, err)
}

// named turns what package envelope found into this package's error; the
// original stays in the chain.
func named(err error) error {
	name := ErrTampered
	switch {
	case errors.Is(err, envelope.ErrUnknownKey):
		name = ErrWrongSecret
	case errors.Is(err, envelope.ErrOtherSession):
		name = ErrSwapped
	case errors.Is(err, envelope.ErrVersion):
		name = ErrRowVersion
	case errors.Is(err, envelope.ErrMalformed):
		name = ErrMalformed
	}
	return fmt.Errorf("%w: %w", name, err)
}
