package inspect

import (
	"context"
	"fmt"
	"time"

	"cloudsession/shared/cloudstore"
)

// Log is what the tables say of a session's log, without opening anything.
type Log struct {
	SessionID   string  `json:"session_id"`
	Owner       Owner   `json:"owner"`
	Credentials string  `json:"credentials"` // CredentialsSealed, CredentialsNode or CredentialsNone
	Epochs      []Epoch `json:"epochs"`      // newest first
}

// Owner is a session's row in session_owners.
type Owner struct {
	ConnectorID string     `json:"connector_id,omitempty"`
	Epoch       uint64     `json:"epoch"`
	Wanted      string     `json:"wanted,omitempty"`
	State       string     `json:"state,omitempty"`
	Backup      string     `json:"backup,omitempty"`
	SyncedAt    *time.Time `json:"synced_at,omitempty"`
}

// Epoch is one term and its rows.
type Epoch struct {
	Epoch       uint64    `json:"epoch"`
	ParentEpoch uint64    `json:"parent_epoch"`
	ParentSeq   uint64    `json:"parent_seq"`
	ConnectorID string    `json:"connector_id"`
	Start       string    `json:"start"`
	Reason      string    `json:"reason,omitempty"`
	StartedAt   time.Time `json:"started_at"`
	InLineage   bool      `json:"in_lineage"` // the session's state builds on it
	Rows        []Row     `json:"rows"`
}

// Row is one row of session_segments.
type Row struct {
	Seq       uint64    `json:"seq"`
	Kind      string    `json:"kind"`
	Part      uint16    `json:"part"`
	Parts     uint16    `json:"parts"`
	Tag       string    `json:"tag"` // hexadecimal
	CreatedAt time.Time `json:"created_at"`
	Counts    bool      `json:"counts"` // false behind the end of its epoch
}

// List returns the epochs and rows of a session. It returns ErrUnknownSession,
// or the store's error.
func List(ctx context.Context, store Store, sessionID string) (Log, error) {
	s, err := readSession(ctx, store, sessionID)
	if err != nil {
		return Log{}, err
	}
	epochs, err := store.Epochs(ctx, sessionID)
	if err != nil {
		return Log{}, fmt.Errorf("read epochs of session %q: %w", sessionID, err)
	}
	log := Log{SessionID: sessionID, Owner: ownerOf(s.owner), Credentials: s.credentialsKind(), Epochs: []Epoch{}}
	next, limit := s.owner.Epoch, ^uint64(0) // the epoch of the lineage that comes next, and where it ends
	for _, e := range epochs {
		rows, err := store.SegmentHeads(ctx, sessionID, e.Epoch)
		if err != nil {
			return Log{}, fmt.Errorf("list log of session %q: %w", sessionID, err)
		}
		entry := Epoch{
			Epoch: e.Epoch, ParentEpoch: e.ParentEpoch, ParentSeq: e.ParentSeq, ConnectorID: e.ConnectorID,
			Start: e.Start, Reason: e.Reason, StartedAt: e.StartedAt, InLineage: e.Epoch == next,
		}
		if entry.InLineage {
			entry.Rows = listRows(rows, limit)
			next, limit = e.ParentEpoch, e.ParentSeq
		} else {
			entry.Rows = listRows(rows, 0)
		}
		log.Epochs = append(log.Epochs, entry)
	}
	return log, nil
}

// listRows describes an epoch's rows, of which those up to limit count.
func listRows(rows []cloudstore.Segment, limit uint64) []Row {
	list := make([]Row, 0, len(rows))
	ended := false
	for _, r := range rows {
		ended = ended || r.Kind.IsTerminator()
		list = append(list, Row{
			Seq: r.Seq, Kind: string(r.Kind), Part: r.Part, Parts: r.Parts, Tag: fmt.Sprintf("%x", r.Tag), CreatedAt: r.CreatedAt,
			Counts: !ended && r.Seq <= limit,
		})
	}
	return list
}

func ownerOf(o cloudstore.Owner) Owner {
	owner := Owner{ConnectorID: o.ConnectorID, Epoch: o.Epoch, Wanted: o.Wanted, State: o.State, Backup: o.Backup}
	if !o.SyncedAt.IsZero() {
		owner.SyncedAt = &o.SyncedAt
	}
	return owner
}
