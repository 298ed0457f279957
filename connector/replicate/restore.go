package replicate

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"cloudsession/shared/cloudstore"
	"cloudsession/shared/envelope"
	"cloudsession/shared/sessionlog"
)

// ErrNothing means that the cloud holds neither a log nor credentials of the session. Only clean answers lead here.
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
//
// It returns ErrNothing if there is nothing to restore, and otherwise errors of the store, of package
// sessionlog (a damaged log, the wrong secret), envelope (the credentials row) or capture (a file that
// fails its checks). After an error nothing of use is left behind.
func Restore(ctx context.Context, store Reader, keys *envelope.Keyring, taken cloudstore.Taken, path string) (Restored, error) {
	r := restorer{store: store, keys: keys, sessionID: taken.SessionID}
	found, err := r.restore(ctx, taken, path)
	if err != nil {
		return Restored{}, fmt.Errorf("restore session %s: %w", taken.SessionID, err)
	}
	return found, nil
}

type restorer struct {
	store     Reader
	keys      *envelope.Keyring
	sessionID string
	salts     []envelope.Salt // of the rows that were opened
}

func (r *restorer) restore(ctx context.Context, taken cloudstore.Taken, path string) (Restored, error) {
	parent := sessionlog.Cursor{Epoch: taken.ParentEpoch, Seq: taken.ParentSeq, Tag: taken.ParentTag}
	defer r.deriveMeanwhile(taken.Parent.Credentials)()
	lineage, err := r.fetch(ctx, parent)
	if err != nil {
		return Restored{}, err
	}
	if lineage == nil && taken.Start == cloudstore.StartExact {
		return Restored{}, fmt.Errorf("no base to go on from exactly: %w", sessionlog.ErrMissing)
	}
	if lineage == nil {
		return r.credentials(ctx, parent)
	}
	found := Restored{Cursor: parent, Log: LogSize{Epochs: len(lineage)}}
	b := newBuilder(path)
	if err := b.prepare(); err != nil {
		return Restored{}, err
	}
	defer b.discard()
	// A child that has no rows yet: it makes Read stop where the take ended the parent's log.
	child := sessionlog.EpochRows{Epoch: taken.Epoch, ParentEpoch: parent.Epoch, ParentSeq: parent.Seq, Start: taken.Start}
	result, err := sessionlog.Read(r.keys, r.sessionID, append(rowsOf(lineage), child), func(p sessionlog.Push) error {
		found.MaxPreKeyID = max(found.MaxPreKeyID, maxPreKeyID(p))
		return b.apply(ctx, p)
	})
	if err != nil {
		return Restored{}, err
	}
	if result.Last != parent {
		return Restored{}, fmt.Errorf("log ends at %d/%d, not at %d/%d as the take found it: %w",
			result.Last.Epoch, result.Last.Seq, parent.Epoch, parent.Seq, sessionlog.ErrMissing)
	}
	found.Salt, found.Pushes = result.Salt, result.Pushes
	r.salts = []envelope.Salt{result.Salt}
	found.Log.BaseBytes, found.Log.DeltaBytes = weigh(lineage)
	found.MaxPreKeyID = max(found.MaxPreKeyID, r.strayPreKeyID(lineage))
	if err := b.finish(ctx); err != nil {
		return Restored{}, err
	}
	return found, nil
}

// deriveMeanwhile derives the session's keys while its log is fetched, those of the current secret: the
// new term needs them in any case. The salt is that of the credentials row, the same as in every row of
// the log; where that row tells none, the keys are derived when they are first needed. What it returns
// waits for the end of it.
func (r *restorer) deriveMeanwhile(credentials []byte) (wait func()) {
	var wg sync.WaitGroup
	if salt, err := envelope.SaltOf(credentials); err == nil {
		wg.Go(func() { r.keys.Derive(r.sessionID, salt) })
	}
	return wg.Wait
}

// credentials is the restore of a session without a log.
func (r *restorer) credentials(ctx context.Context, parent sessionlog.Cursor) (Restored, error) {
	row, err := r.store.Credentials(ctx, r.sessionID)
	if errors.Is(err, cloudstore.ErrNotFound) {
		return Restored{}, ErrNothing
	}
	if err != nil {
		return Restored{}, fmt.Errorf("read credentials: %w", err)
	}
	found := Restored{CredentialsOnly: true, Cursor: parent}
	if envelope.IsLegacy(row.Data) {
		found.Salt = envelope.NewSalt()
		found.Credentials, err = r.keys.OpenLegacy(r.sessionID, row.Data)
	} else {
		var opened envelope.Opened
		opened, err = r.keys.Open(envelope.CredentialsPosition(r.sessionID), row.Data)
		if err == nil && opened.Kind != envelope.KindCredentials {
			err = envelope.ErrTampered
		}
		found.Salt, found.Credentials = opened.Salt, opened.Plaintext
	}
	if err != nil {
		return Restored{}, fmt.Errorf("open credentials: %w", err)
	}
	return found, nil
}
