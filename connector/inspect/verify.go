package inspect

import (
	"context"
	"errors"
	"fmt"

	"cloudsession/connector/baileys"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/envelope"
	"cloudsession/shared/sessionlog"
)

// Report is what came of verifying a session.
type Report struct {
	SessionID   string            `json:"session_id"`
	OK          bool              `json:"ok"` // no faults
	Faults      []Fault           `json:"faults"`
	Notes       []string          `json:"notes"` // what is worth knowing, but no fault
	Epoch       uint64            `json:"epoch"` // the owner's
	Log         LogReport         `json:"log"`
	Credentials string            `json:"credentials"` // CredentialsSealed, CredentialsNode or CredentialsNone
	Identity    *baileys.Identity `json:"identity,omitempty"`
}

// Fault is something that must not be.
type Fault struct {
	Where string `json:"where"` // "log" or "credentials"
	Code  string `json:"code"`  // see faultCodes
	Error string `json:"error"`
}

// LogReport counts what was verified.
type LogReport struct {
	Rows         int    `json:"rows"`
	Bytes        int64  `json:"bytes"` // sealed
	Pushes       int    `json:"pushes"`
	Bases        int    `json:"bases"` // those of the pushes that can be restored from
	Records      int    `json:"records"`
	Unfinished   int    `json:"unfinished"` // pushes that broke off, which readers skip
	Unverifiable int    `json:"unverifiable"`
	Sealed       bool   `json:"sealed"`
	FromEpoch    uint64 `json:"from_epoch"`
	FromSeq      uint64 `json:"from_seq"`
	LastEpoch    uint64 `json:"last_epoch"`
	LastSeq      uint64 `json:"last_seq"`
}

// faultCodes names the errors that a fault may be, for programs.
var faultCodes = []struct {
	err  error
	code string
}{
	{sessionlog.ErrWrongSecret, "wrong_secret"},
	{envelope.ErrUnknownKey, "wrong_secret"},
	{sessionlog.ErrSwapped, "other_session"},
	{envelope.ErrOtherSession, "other_session"},
	{sessionlog.ErrMissing, "missing"},
	{sessionlog.ErrRepeated, "repeated"},
	{sessionlog.ErrReordered, "reordered"},
	{sessionlog.ErrTwoSalts, "salts"},
	{sessionlog.ErrNoBase, "no_base"},
	{sessionlog.ErrRowVersion, "unknown_version"},
	{envelope.ErrVersion, "unknown_version"},
	{sessionlog.ErrPushVersion, "unknown_version"},
	{sessionlog.ErrTampered, "altered"},
	{envelope.ErrTampered, "altered"},
	{envelope.ErrTruncated, "altered"},
	{envelope.ErrTooLarge, "altered"},
	{envelope.ErrNotEnvelope, "altered"},
	{sessionlog.ErrMalformed, "malformed"},
	{envelope.ErrMalformed, "malformed"},
	{sessionlog.ErrTooLarge, "malformed"},
	{envelope.ErrLegacy, "wrong_secret_or_damaged"},
	{baileys.ErrUnpaired, "unpaired"},
	{baileys.ErrDamaged, "malformed"},
	{cloudstore.ErrNotFound, "missing"},
}

func (r *Report) fault(where string, err error) {
	f := Fault{Where: where, Code: "unknown", Error: err.Error()}
	for _, c := range faultCodes {
		if errors.Is(err, c.err) {
			f.Code = c.code
			break
		}
	}
	r.OK = false
	r.Faults = append(r.Faults, f)
}

// Verify checks every row of a session's log and its credentials. What is wrong
// with them stands in the report; the error is for what couldn't be read, and
// ErrUnknownSession.
func Verify(ctx context.Context, store Store, keys *envelope.Keyring, sessionID string) (Report, error) {
	s, err := readSession(ctx, store, sessionID)
	if err != nil {
		return Report{}, err
	}
	r := Report{SessionID: sessionID, OK: true, Faults: []Fault{}, Notes: []string{}, Epoch: s.owner.Epoch, Credentials: s.credentialsKind()}
	lineage, err := s.fetch(ctx, store, true)
	switch {
	case errors.Is(err, cloudstore.ErrNotFound):
		r.fault("log", fmt.Errorf("%w: %w", sessionlog.ErrMissing, err))
	case err != nil:
		return Report{}, err
	default:
		r.verifyLog(keys, sessionID, lineage)
	}
	r.verifyCredentials(keys, s)
	return r, nil
}

func (r *Report) verifyLog(keys *envelope.Keyring, sessionID string, lineage []sessionlog.EpochRows) {
	records := 0
	res, err := sessionlog.Verify(keys, sessionID, lineage, func(_ sessionlog.Cursor, p sessionlog.Push) error {
		records += len(p.Records)
		return nil
	})
	if err != nil {
		r.fault("log", err)
	}
	r.Log = LogReport{
		Rows: res.Rows, Bytes: res.Bytes, Pushes: res.Pushes, Bases: res.Bases, Records: records,
		Unfinished: res.SkippedIncomplete, Unverifiable: res.Unverifiable, Sealed: res.Sealed,
		FromEpoch: res.From.Epoch, FromSeq: res.From.Seq, LastEpoch: res.Last.Epoch, LastSeq: res.Last.Seq,
	}
	if err != nil {
		return
	}
	if res.Unverifiable > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("%d rows before the first base can't be verified: pruning was interrupted there, or rows before them are missing", res.Unverifiable))
	}
	if res.Rows > 0 && !res.Current {
		r.Notes = append(r.Notes, "some rows are sealed with a previous secret")
	}
	if res.Bases == 0 {
		r.Notes = append(r.Notes, "no complete base: only the credentials can be restored")
	}
}

func (r *Report) verifyCredentials(keys *envelope.Keyring, s session) {
	if !s.hasCredentials {
		if r.Log.Bases > 0 {
			r.fault("credentials", fmt.Errorf("the log can be restored, but the row in whatsapp_sessions is gone: %w", cloudstore.ErrNotFound))
		}
		return
	}
	identity, err := s.openCredentials(keys)
	if err != nil {
		r.fault("credentials", err)
		return
	}
	r.Identity = &identity
}
