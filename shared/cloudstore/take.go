package cloudstore

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"slices"
)

// TakeRequest asks for a new epoch of a session.
type TakeRequest struct {
	SessionID   string
	ConnectorID string
	Incarnation string // must be the live one of ConnectorID in table connectors
	Reason      string
	Nonce       [16]byte // random, one for each take; a repeated call with the same one finds its own commit

	MayCreate     bool // a session never seen: create its owner row (pairing, import)
	WithoutParent bool // a new identity, or the first backup after DELETE
	AnyWanted     bool // also a session wanted closed (rekey, export)
	KeepWanted    bool // what the session is wanted for stays as it is, whoever asked
	ByCommand     bool // a person asked: also from a dead owner with failover = manual, and before a reservation

	// Judge is called inside the transaction, once an attempt, and returns how
	// the term starts. It must be quick and must not use the Store.
	Judge func(ctx context.Context, p Parent) (start string, err error)
}

// Parent is what a taker finds: the state of the epoch it ends.
type Parent struct {
	Owner Owner
	Epoch Epoch // the owner's current epoch; zero when the session never had one

	LastSeq uint64   // n: last data row of that epoch's unbroken run; 0 when it has none
	LastTag [32]byte // tag of the last data row of the lineage, which for LastSeq 0 stands in an earlier epoch; zero when there is none

	Terminator *Segment // what stood at n+1 before the take, with Data; nil if nothing
	Contiguous bool     // the epoch's rows are one unbroken run from its last base (or 1) to n, and nothing but the terminator follows

	Damaged        bool   // rows are missing that were durable once: a push begins, or a seal stands, behind a gap
	HasLog         bool   // the lineage has data rows to restore from
	HasCredentials bool   // whatsapp_sessions has a row
	Credentials    []byte // its data, as it was before the take
	MaxSeq         uint64 // highest seq of any row of the epoch
}

// Taken is a committed take.
type Taken struct {
	SessionID              string
	Epoch                  uint64
	ParentEpoch, ParentSeq uint64 // last data row of the lineage, 0 and 0 for none
	ParentTag              [32]byte
	Start                  string
	Parent                 Parent // as Judge saw it
}

const (
	// Fences and deletions carry no data.
	insertTerminator = `INSERT INTO session_segments (session_id, epoch, seq, kind, part, parts, data, tag)
		VALUES (?, ?, ?, ?, 1, 1, '', ?)`
	insertOwner = `INSERT INTO session_owners (session_id, connector_id, epoch) VALUES (?, ?, ?)`
	takeOwner   = `UPDATE session_owners SET connector_id = ?, epoch = ?, wanted = ?, backup = ?, reserved_for = NULL, reserved_until = NULL, not_before = NULL
		WHERE session_id = ? AND epoch = ?`
	// Not a sync: updated_at stays.
	raiseCredentialsEpoch = `UPDATE whatsapp_sessions SET epoch = ?, updated_at = updated_at WHERE id = ? AND epoch < ?`
)

// takeAttempts bounds how often an unknown outcome is looked into. Losing
// against others is bounded by withTransaction.
const takeAttempts = 4

// Take begins a new epoch of a session (O4), in one transaction: the old
// epoch's log is ended by a fence where no terminator ends it, Judge decides
// how the new term starts, and the owner row names the taker. Exactly one of
// several takers of an epoch wins it; the others judge the winner's epoch, and
// find it not theirs to take.
//
// ErrNotTakeable when O3 doesn't hold, ErrNotYet during the pause of a session
// that has ended, ErrNotFound when the session was never
// seen and MayCreate is not set, ErrIncarnation when the taker itself is dead
// or replaced. An unknown outcome is resolved by looking for the nonce; if that
// fails too, the error is what IsUnavailable reports, and a later call with the
// same nonce finds out.
func (s *Store) Take(ctx context.Context, r TakeRequest) (Taken, error) {
	if err := checkTake(r); err != nil {
		return Taken{}, fmt.Errorf("take session: %w", err)
	}
	var taken, candidate Taken
	var err error
	for range takeAttempts {
		err = s.withTransaction(ctx, func(tx *sql.Tx) error {
			t, err := take(ctx, tx, r, candidate)
			taken = t
			return err
		})
		if _, unknown := errors.AsType[*commitError](err); !unknown {
			break
		}
		candidate = taken
	}
	if err != nil {
		return Taken{}, fmt.Errorf("take session: %w", err)
	}
	return taken, nil
}

// take is the transaction's body. candidate is what an earlier commit of
// unknown outcome would have made, or zero.
func take(ctx context.Context, tx *sql.Tx, r TakeRequest, candidate Taken) (Taken, error) {
	v, err := lockForTake(ctx, tx, r)
	if err != nil {
		return Taken{}, err
	}
	if t, err := findOwnCommit(ctx, tx, r, v, candidate); err != nil || t.Epoch != 0 {
		return t, err
	}
	if err := mayTake(ctx, tx, r, v); err != nil {
		return Taken{}, err
	}
	parent, err := readParent(ctx, tx, v)
	if err != nil {
		return Taken{}, err
	}
	t := Taken{SessionID: r.SessionID, Epoch: max(v.owner.Epoch, v.credentials.epoch) + 1, Parent: parent.Parent}
	if parent.HasLog && !r.WithoutParent {
		t.ParentEpoch, t.ParentSeq, t.ParentTag = parent.lastEpoch, parent.lastSeq, parent.LastTag
	}
	if t.Start, err = r.Judge(ctx, parent.Parent); err != nil {
		return Taken{}, fmt.Errorf("judge how to start: %w", err)
	}
	if !slices.Contains([]string{StartExact, StartOwnFile, StartSafe, StartNew}, t.Start) {
		return Taken{}, fmt.Errorf("judge how to start: %w: start %q", ErrBadInput, t.Start)
	}
	if err := fence(ctx, tx, r, parent.Parent); err != nil {
		return Taken{}, err
	}
	if err := writeTake(ctx, tx, r, v, t); err != nil {
		return Taken{}, err
	}
	// Last, so that one connector's takes hardly wait for each other here.
	return t, checkAlive(ctx, tx, r, v)
}

// takeView is what a take finds and has locked.
type takeView struct {
	owner       Owner // zero where there is no row
	hasOwner    bool
	epoch       Epoch // of owner.Epoch; zero where that is 0
	credentials sessionRow
	hasRow      bool // whatsapp_sessions has credentials
}

func lockForTake(ctx context.Context, tx *sql.Tx, r TakeRequest) (v takeView, err error) {
	v.owner, err = one(ctx, tx, scanOwner, lockOwner, r.SessionID)
	if v.hasOwner = err == nil; err != nil && !errors.Is(err, ErrNotFound) {
		return v, err
	}
	if !v.hasOwner {
		v.owner = Owner{SessionID: r.SessionID, Wanted: WantedOpen, Backup: BackupFull, Failover: FailoverAuto}
	}
	v.credentials, err = lockSession(ctx, tx, r.SessionID)
	if v.hasRow = err == nil; err != nil && !errors.Is(err, ErrNotFound) {
		return v, err
	}
	if !v.hasOwner && !v.hasRow && !r.MayCreate {
		return v, ErrNotFound
	}
	if v.owner.Epoch == 0 {
		return v, nil
	}
	if v.epoch, err = one(ctx, tx, scanEpoch, lockEpoch, r.SessionID, v.owner.Epoch); err != nil {
		return v, fmt.Errorf("read epoch %d: %w", v.owner.Epoch, err)
	}
	return v, nil
}

// findOwnCommit looks for an earlier commit of this very request. The zero
// Taken when there is none.
func findOwnCommit(ctx context.Context, tx *sql.Tx, r TakeRequest, v takeView, candidate Taken) (Taken, error) {
	if v.epoch.Nonce == r.Nonce {
		if candidate.Epoch == v.epoch.Epoch {
			return candidate, nil
		}
		return takenBefore(ctx, tx, v)
	}
	if candidate.Epoch == 0 || candidate.Epoch >= v.owner.Epoch {
		return Taken{}, nil
	}
	e, err := one(ctx, tx, scanEpoch, lockEpoch, r.SessionID, candidate.Epoch)
	switch {
	case errors.Is(err, ErrNotFound), err == nil && e.Nonce != r.Nonce:
		return Taken{}, nil
	case err != nil:
		return Taken{}, err
	}
	return Taken{}, ErrFenced // it was committed, and has been taken from us since
}

// takenBefore describes the current epoch, which an earlier call committed. The
// state Judge saw is gone; what it decided stands in the row.
func takenBefore(ctx context.Context, tx *sql.Tx, v takeView) (Taken, error) {
	e := v.epoch
	t := Taken{SessionID: e.SessionID, Epoch: e.Epoch, ParentEpoch: e.ParentEpoch, ParentSeq: e.ParentSeq, Start: e.Start}
	t.Parent.Owner, t.Parent.HasLog = v.owner, e.ParentEpoch != 0
	t.Parent.HasCredentials, t.Parent.Credentials = v.hasRow, v.credentials.data
	if e.ParentEpoch == 0 {
		return t, nil
	}
	row, err := one(ctx, tx, scanTag, lockTag, e.SessionID, e.ParentEpoch, e.ParentSeq)
	if err != nil && !errors.Is(err, ErrNotFound) { // a later base may have made it prunable
		return Taken{}, err
	}
	t.ParentTag, t.Parent.LastTag = row.Tag, row.Tag
	return t, nil
}

// fence ends the old epoch's log. Whoever wrote there since it was read makes
// the insert fail, and the take start over.
func fence(ctx context.Context, tx *sql.Tx, r TakeRequest, p Parent) error {
	if p.Owner.Epoch == 0 || p.Terminator != nil {
		return nil
	}
	// Unlike any other row's tag, and the same when the take is repeated.
	tag := sha256.Sum256(append([]byte("cloudsession fence\x00"), r.Nonce[:]...))
	_, err := execOn(ctx, tx, insertTerminator, r.SessionID, p.Owner.Epoch, p.LastSeq+1, string(KindFence), tag[:])
	if isDuplicate(err) {
		return errStartOver
	}
	return err
}

// writeTake writes the epoch row, the owner row and the credentials' epoch.
func writeTake(ctx context.Context, tx *sql.Tx, r TakeRequest, v takeView, t Taken) error {
	_, err := execOn(ctx, tx, insertEpoch, r.SessionID, t.Epoch, t.ParentEpoch, t.ParentSeq,
		r.ConnectorID, r.Incarnation, r.Nonce[:], t.Start, cut(r.Reason, maxReason))
	if isDuplicate(err) {
		return errStartOver
	}
	if err != nil {
		return err
	}
	if err := writeOwner(ctx, tx, r, v, t.Epoch); err != nil {
		return err
	}
	if !v.hasRow {
		return nil
	}
	_, err = execOn(ctx, tx, raiseCredentialsEpoch, t.Epoch, v.credentials.id, t.Epoch)
	return err
}

func writeOwner(ctx context.Context, tx *sql.Tx, r TakeRequest, v takeView, epoch uint64) error {
	if !v.hasOwner {
		_, err := execOn(ctx, tx, insertOwner, r.SessionID, r.ConnectorID, epoch)
		if isDuplicate(err) {
			return errStartOver
		}
		return err
	}
	wanted, backup := v.owner.Wanted, v.owner.Backup
	if (r.MayCreate || r.ByCommand) && !r.KeepWanted {
		wanted = WantedOpen // who asks for a session wants it to be open after a crash, too
	}
	if r.WithoutParent && backup == BackupOff {
		backup = BackupFull
	}
	changed, err := execOn(ctx, tx, takeOwner, r.ConnectorID, epoch, wanted, backup, r.SessionID, v.owner.Epoch)
	if err == nil && changed != 1 {
		return errStartOver
	}
	return err
}

// maxReason is the limit of column reason.
const maxReason = 255

func checkTake(r TakeRequest) error {
	if err := ValidateSessionID(r.SessionID); err != nil {
		return err
	}
	if err := validateNames(r.ConnectorID, r.Incarnation); err != nil {
		return err
	}
	if r.Nonce == [16]byte{} || r.Judge == nil {
		return fmt.Errorf("%w: a take needs a nonce and a judge", ErrBadInput)
	}
	return nil
}
