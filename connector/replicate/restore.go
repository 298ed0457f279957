package replicate

import (
	"context"
	"errors"

	"cloudsession/shared/cloudstore"
	"cloudsession/shared/envelope"
	"cloudsession/shared/sessionlog"
)

// ErrNothing: the cloud holds neither a log nor credentials of the session. Only clean answers lead here.
var ErrNothing = errors.New("nothing of the session is in the cloud")

// Restored is what Restore found.
type Restored struct {
	// Cursor is the parent's last data row: Term.Parent of the term to start.
	Cursor sessionlog.Cursor
	// Salt is the session's; a new one if only a row of the Node service was there.
	Salt envelope.Salt
	// MaxPreKeyID is the highest prekey id in any readable row from the base on, whether the row counts
	// or not: rows of fenced epochs and of incomplete pushes too (section 7, step 3).
	MaxPreKeyID uint32
	// CredentialsOnly: there was no log, no file was built, and Credentials holds the plaintext
	// {"creds": …, "timestamp": ms}.
	CredentialsOnly bool
	Credentials     []byte
	// Pushes counts the pushes applied.
	Pushes int
	// Log is the weight of the log read: Term.Log of the term to start.
	Log LogSize
}

// Restore builds the session's file at path from the log behind taken (L1, L3), verified row by row,
// and leaves it closed and checkpointed. Without a log it returns the credentials alone. The file
// appears at path only when it is whole; what stood there before is never overwritten.
func Restore(ctx context.Context, store Reader, keys *envelope.Keyring, taken cloudstore.Taken, path string) (Restored, error) {
	return Restored{}, errors.ErrUnsupported
}
