package replicate

import (
	"context"

	"cloudsession/shared/cloudstore"
)

// Writer is what pushing needs of the cloud store. [cloudstore.Store] implements it.
//
// Every method may fail with its effect persisted all the same: an error means that the outcome is
// unknown, except for cloudstore.ErrFenced, which means that somebody else owns the session and that
// nothing was written.
type Writer interface {
	// AppendSegments inserts rows of any number of sessions and says what became of each (P4).
	AppendSegments(ctx context.Context, segs []cloudstore.Segment) ([]cloudstore.Outcome, error)
	// AppendFirstBase inserts the last part of a base together with the credentials row (P7).
	AppendFirstBase(ctx context.Context, last cloudstore.Segment, creds cloudstore.Credentials) (cloudstore.Outcome, error)
	// PutCredentials writes the credentials row, guarded by the epoch.
	PutCredentials(ctx context.Context, c cloudstore.Credentials) error
	// ForgetParent makes an epoch one without a parent.
	ForgetParent(ctx context.Context, sessionID string, epoch uint64) error
	// Touch sets synced_at of sessions still at the epochs given.
	Touch(ctx context.Context, sessions []cloudstore.SessionEpoch) error
	// CopySynced copies synced_at into the sessions' last_synced_at.
	CopySynced(ctx context.Context, sessionIDs []string) error
	// Prune deletes log rows before a position, with the owner row locked at epoch (L2).
	Prune(ctx context.Context, sessionID string, epoch, beforeEpoch, beforeSeq uint64) (int64, error)
	// Owner reads the owner row.
	Owner(ctx context.Context, sessionID string) (cloudstore.Owner, error)

	Reader
}

// Reader is what restoring needs of the cloud store. A failed read is an error, never "nothing there".
type Reader interface {
	// Lineage returns the epoch rows from epoch along its parents, newest first.
	Lineage(ctx context.Context, sessionID string, epoch uint64) ([]cloudstore.Epoch, error)
	// SegmentHeads returns an epoch's rows in the order of seq, without their data.
	SegmentHeads(ctx context.Context, sessionID string, epoch uint64) ([]cloudstore.Segment, error)
	// Segments returns an epoch's rows from fromSeq to toSeq, both included, in the order of seq.
	Segments(ctx context.Context, sessionID string, epoch, fromSeq, toSeq uint64) ([]cloudstore.Segment, error)
	// Credentials returns the credentials row, or cloudstore.ErrNotFound.
	Credentials(ctx context.Context, sessionID string) (cloudstore.Credentials, error)
}
