package whatsapp

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"go.mau.fi/libsignal/session"
	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/appstate"
	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/util/keys"

	"cloudsession/connector/inbox"
)

// PrepareSafe says what a safe start knows about the state before it.
type PrepareSafe struct {
	// MaxPreKeyID is the highest prekey id in any readable segment of the session's log, fenced epochs included.
	MaxPreKeyID uint32
	// CredentialsOnly is set when there is no log: nobody knows which ids were used.
	CredentialsOnly bool
	// Epoch is the term's; see inbox.SkipAhead.
	Epoch uint64
}

// Prekey ids have 24 bits, and whatsmeow gives a new key the highest id in the file plus one.
const (
	preKeyIDs = 1 << 24
	preKeyGap = 1 << 16 // more than was used since the copy was taken
	// Ids of a session whose log nobody has are chosen from here, and those of one that came near the end.
	blindFrom, blindTo = 1 << 20, 1 << 22
	lowFrom, lowTo     = 1 << 12, 1 << 18
)

// Marks in the session file: a safe start outlives the process that began it.
const (
	markSafeStart = "safe start" // the id of the prekey above which fresh ones are to be uploaded
	markRestored  = "restored"   // what has passed since: "", "in" or "out"
)

// The steps of a safe start that need a connection (section 7, step 5).
const (
	stepPhone    = "phone session"
	stepPreKeys  = "prekeys"
	stepAppState = "app state"
)

// safeStart is what is still to be done. Guarded by Session.mu.
type safeStart struct {
	outstanding bool
	preKeyID    uint32 // fresh prekeys have higher ids
	fullSync    bool   // the app state didn't fit the service's: fetch it whole

	restored bool // not both sent and received since
	in, out  bool
}

// PrepareSafe readies a file for a safe start (section 7, steps 2 to 4): it drops the Signal sessions and our own
// sender keys, since using a stale one loses messages without a word, and makes prekey ids go on where nobody has used
// them. It has to be called before Connect, and before the base is pushed. Calling it again does no harm.
func (s *Session) PrepareSafe(ctx context.Context, p PrepareSafe) error {
	s.mu.Lock()
	started, paired, own := s.started, s.paired, s.own
	s.mu.Unlock()
	if started {
		return fmt.Errorf("prepare safe start: %w", ErrStarted)
	}
	if !paired {
		return fmt.Errorf("prepare safe start: %w", ErrNotPaired)
	}
	if err := s.inbox.SkipAhead(ctx, p.Epoch); err != nil {
		return fmt.Errorf("prepare safe start: %w", err)
	}
	next, err := s.dropStale(ctx, p, own)
	if err != nil {
		return fmt.Errorf("prepare safe start: %w", err)
	}
	// Filled before the first lookup, so that a missing entry can't be remembered as "no LID".
	if err := s.container.LIDMap.FillCache(ctx); err != nil {
		return fmt.Errorf("prepare safe start: read address map: %w", err)
	}
	s.mu.Lock()
	s.safe = safeStart{outstanding: true, preKeyID: next, restored: true}
	s.mu.Unlock()
	return nil
}

// dropStale does the part in the database, all or nothing, and returns the id of the prekey it inserted.
func (s *Session) dropStale(ctx context.Context, p PrepareSafe, own ownAddresses) (next uint32, err error) {
	tx, err := s.cfg.File.DB().BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it does nothing, and without it the first error is the one to report
	steps := []struct {
		stmt string
		args []any
	}{
		{`DELETE FROM whatsmeow_sessions`, nil},
		{
			`DELETE FROM whatsmeow_sender_keys WHERE sender_id IN (?, ?)`,
			[]any{own.pn.SignalAddress().String(), own.lid.SignalAddress().String()},
		},
		{`UPDATE whatsmeow_pre_keys SET uploaded = 1`, nil},
	}
	if !forgetsStaleState {
		steps = nil
	}
	for _, step := range steps {
		if _, err := tx.ExecContext(ctx, step.stmt, step.args...); err != nil {
			return 0, fmt.Errorf("drop stale state: %w", err)
		}
	}
	// The copy may be older than an attempt: nobody can say any more that there was none.
	const attempted = `UPDATE inbox_sends SET attempts = 1 WHERE state = ? AND attempts = 0`
	if _, err := tx.ExecContext(ctx, attempted, string(inbox.SendPending)); err != nil {
		return 0, fmt.Errorf("note attempts: %w", err)
	}
	if next, err = insertPreKey(ctx, tx, p, own); err != nil {
		return 0, err
	}
	const put = `INSERT INTO inbox_marks (name, value) VALUES (?, ?), (?, '') ON CONFLICT (name) DO UPDATE SET value = excluded.value`
	if _, err := tx.ExecContext(ctx, put, markSafeStart, strconv.FormatUint(uint64(next), 10), markRestored); err != nil {
		return 0, fmt.Errorf("note safe start: %w", err)
	}
	return next, tx.Commit()
}

// insertPreKey inserts one random prekey, as uploaded, from whose id whatsmeow goes on numbering.
func insertPreKey(ctx context.Context, tx *sql.Tx, p PrepareSafe, own ownAddresses) (uint32, error) {
	var highest sql.NullInt64
	if err := tx.QueryRowContext(ctx, `SELECT MAX(key_id) FROM whatsmeow_pre_keys`).Scan(&highest); err != nil {
		return 0, fmt.Errorf("read prekeys: %w", err)
	}
	p.MaxPreKeyID = max(p.MaxPreKeyID, uint32(highest.Int64)) //nolint:gosec // G115: the table's own check holds it under 2^24
	next := nextPreKeyID(p)
	// Only near the end of the ids there is anything above it. Messages to those keys will be asked for again.
	if _, err := tx.ExecContext(ctx, `DELETE FROM whatsmeow_pre_keys WHERE key_id >= ?`, next); err != nil {
		return 0, fmt.Errorf("remove prekeys: %w", err)
	}
	const insert = `INSERT INTO whatsmeow_pre_keys (jid, key_id, key, uploaded) VALUES (?, ?, ?, 1)`
	if _, err := tx.ExecContext(ctx, insert, own.pn.String(), next, keys.NewPreKey(next).Priv[:]); err != nil {
		return 0, fmt.Errorf("insert prekey: %w", err)
	}
	return next, nil
}

// nextPreKeyID chooses the id: above all that may have been used, with room for what comes.
func nextPreKeyID(p PrepareSafe) uint32 {
	if p.CredentialsOnly {
		return max(between(blindFrom, blindTo), min(p.MaxPreKeyID, blindTo)+1)
	}
	if p.MaxPreKeyID > preKeyIDs-3*preKeyGap {
		return between(lowFrom, lowTo)
	}
	return p.MaxPreKeyID + preKeyGap
}

func between(from, to uint32) uint32 {
	return from + rand.Uint32N(to-from) //nolint:gosec // a number nobody else is likely to use, not a secret
}

// loadSafeStart reads what an earlier process has left to do.
func (s *Session) loadSafeStart(ctx context.Context) error {
	value, outstanding, err := s.inbox.Mark(ctx, markSafeStart)
	if err != nil {
		return err
	}
	var id uint64
	if outstanding {
		if id, err = strconv.ParseUint(value, 10, 24); err != nil {
			return fmt.Errorf("read safe start: %w", err)
		}
	}
	passed, restored, err := s.inbox.Mark(ctx, markRestored)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.safe = safeStart{
		outstanding: outstanding, preKeyID: uint32(id),
		restored: restored, in: passed == string(directionIn), out: passed == string(directionOut),
	}
	return nil
}

func (s *Session) safePrepared() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.safe.outstanding
}

// finishSafe does what a safe start needs a connection for. The own phone's session comes first, since whatsmeow asks
// the phone for what it can't decrypt and never fetches the phone's keys for that. A *SafeStartError says which step
// didn't work; the next call goes on from there. Without a safe start it asks for what is unread.
func (s *Session) finishSafe() error {
	s.mu.Lock()
	todo := s.safe
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(s.ctx, loginTimeout)
	defer cancel()
	if !todo.outstanding {
		return s.askUnread(ctx)
	}
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{stepPhone, s.rebuildPhoneSession},
		{stepPhone, s.askPhone},
		{stepPreKeys, func(ctx context.Context) error { return s.uploadFreshPreKeys(ctx, todo.preKeyID) }},
		{stepAppState, s.fetchAppState},
		{stepPhone, s.askPhone}, // for what came in before the session was there, and was noted since
	} {
		if err := step.do(ctx); err != nil {
			return &SafeStartError{step.name, err}
		}
	}
	if err := s.inbox.ClearMark(ctx, markSafeStart); err != nil {
		return err
	}
	s.mu.Lock()
	s.safe.outstanding = false
	s.mu.Unlock()
	return nil
}

// internals gives what whatsmeow does only by itself otherwise: fetching a bundle, uploading prekeys.
func (s *Session) internals() *whatsmeow.DangerousInternalClient {
	return s.cli.DangerousInternals() //nolint:staticcheck // deprecated only as a warning; there is no other way
}

func (s *Session) rebuildPhoneSession(ctx context.Context) error {
	phone := s.device.GetLID().ToNonAD()
	if phone.IsEmpty() {
		phone = s.device.GetJID().ToNonAD()
	}
	address := phone.SignalAddress()
	has, err := s.device.ContainsSession(ctx, address)
	if err != nil || has {
		return err // has: the phone has written first
	}
	bundle := s.internals().FetchPreKeysNoError(ctx, []types.JID{phone})[phone]
	if bundle == nil {
		return errors.New("the service gave no keys of the own phone")
	}
	builder := session.NewBuilderFromSignal(s.device, address, store.SignalProtobufSerializer)
	return builder.ProcessBundle(ctx, bundle)
}

// uploadFreshPreKeys gives the service prekeys that this file holds. whatsmeow's upload reports nothing, so the file is
// asked: a key is marked once the service has answered.
func (s *Session) uploadFreshPreKeys(ctx context.Context, above uint32) error {
	enough, err := s.freshPreKeys(ctx, above)
	if err != nil || enough {
		return err
	}
	s.internals().UploadPreKeys(ctx, false)
	enough, err = s.freshPreKeys(ctx, above)
	if err == nil && !enough {
		err = errors.New("the service didn't take fresh prekeys")
	}
	return err
}

func (s *Session) freshPreKeys(ctx context.Context, above uint32) (enough bool, err error) {
	var n int
	row := s.cfg.File.DB().QueryRowContext(ctx, `SELECT COUNT(*) FROM whatsmeow_pre_keys WHERE uploaded AND key_id > ?`, above)
	if err := row.Scan(&n); err != nil {
		return false, fmt.Errorf("count prekeys: %w", err)
	}
	return n >= whatsmeow.WantedPreKeyCount, nil
}

// fetchAppState brings contacts, pins and the like up to date. Without the account's keys for it, which a session of
// credentials alone has not, whatsmeow asks the phone for them and fetches it when they come.
func (s *Session) fetchAppState(ctx context.Context) error {
	s.mu.Lock()
	full := s.safe.fullSync
	s.mu.Unlock()
	for _, name := range appstate.AllPatchNames {
		err := s.cli.FetchAppState(ctx, name, full, false)
		if err == nil || errors.Is(err, appstate.ErrKeyNotFound) {
			continue
		}
		s.mu.Lock()
		s.safe.fullSync = s.cli.IsLoggedIn() // it wasn't the connection: fetch it whole next time
		s.mu.Unlock()
		return fmt.Errorf("fetch %s: %w", name, err)
	}
	return nil
}

type direction string

const (
	directionIn  direction = "in"
	directionOut direction = "out"
)

// liveState is the state of a session through which messages can flow. Session.mu is held.
func (s *Session) liveState() State {
	if s.safe.restored {
		return StateRestored
	}
	return StateConnected
}

// passed notes that a message has come in or gone out. The state is "restored safely" until both have (step 6).
func (s *Session) passed(d direction) {
	s.mu.Lock()
	if !s.safe.restored || d == directionIn && s.safe.in || d == directionOut && s.safe.out {
		s.mu.Unlock()
		return
	}
	s.safe.in = s.safe.in || d == directionIn
	s.safe.out = s.safe.out || d == directionOut
	both := s.safe.in && s.safe.out
	s.safe.restored = !both
	live := s.state.Live()
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(s.ctx, 5*time.Second)
	defer cancel()
	var err error
	if both {
		err = s.inbox.ClearMark(ctx, markRestored)
	} else {
		err = s.inbox.SetMark(ctx, markRestored, string(d))
	}
	if err != nil { // only the shown state depends on it
		s.log.Warn("state not noted", "error", scrub(err.Error()))
	}
	if both && live {
		s.setState(StateConnected, "")
	}
}
