package inbox

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
)

// SendState says how far a send has come.
type SendState string

// The states of a send.
const (
	SendPending SendState = "pending" // to be sent, or its outcome isn't known: repeat it under the same id
	SendDone    SendState = "sent"    // the service has acknowledged it
	SendFailed  SendState = "failed"  // refused for good, see Error and Uncertain
)

// ErrKeyReused is returned by Reserve for an idempotency key that stands for another message.
var ErrKeyReused = errors.New("idempotency key was used for another message")

// ErrNotPending is returned for a send that is over, or of which there is no record.
var ErrNotPending = errors.New("send is not pending")

// Send is a message to be sent, or one that was.
type Send struct {
	Key string // the caller's idempotency key
	ID  string // the message id, the same in every attempt
	To  string // the recipient's JID
	// Text is empty once the message is sent or refused.
	Text  string
	State SendState
	Error string
	// Uncertain is set in a failed send of which an earlier attempt may have reached the service.
	Uncertain bool
	// Attempts counts those that were begun. While the send is pending the outcome of one that isn't this process's
	// is unknown.
	Attempts int
	// CreatedAt is when the send was reserved; SentAt the service's time of it, zero before.
	CreatedAt, SentAt time.Time
}

const sendColumns = `idempotency_key, id, recipient, text, state, error, attempts, created_at, sent_at`

// Reserve records a send before its first attempt. A key that is known returns the send it stands for and created
// false; with another recipient or text it returns ErrKeyReused. After an error nothing is recorded, also when ctx has
// ended half way.
func (in *Inbox) Reserve(ctx context.Context, key, id, to, text string) (s Send, created bool, err error) {
	if key == "" || id == "" || to == "" {
		return Send{}, false, errors.New("record send: key, id and recipient are needed")
	}
	tx, err := in.db.BeginTx(ctx, nil)
	if err != nil {
		return Send{}, false, fmt.Errorf("record send: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it does nothing, and without it the first error is the one to report
	if s, created, err = in.reserve(ctx, tx, key, id, to, text); err != nil {
		return Send{}, false, fmt.Errorf("record send: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return Send{}, false, fmt.Errorf("record send: %w", err)
	}
	if s.State == SendPending {
		in.opened(s)
	}
	return s, created, nil
}

func (in *Inbox) reserve(ctx context.Context, tx *sql.Tx, key, id, to, text string) (s Send, created bool, err error) {
	digest := sendDigest(to, text)
	const insert = `INSERT INTO inbox_sends (idempotency_key, id, recipient, text, digest, state, created_at)
		VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (idempotency_key) DO NOTHING`
	res, err := tx.ExecContext(ctx, insert, key, id, to, text, digest[:], string(SendPending), in.now().UnixMilli())
	if err != nil {
		return Send{}, false, err
	}
	n, err := res.RowsAffected()
	if err != nil {
		return Send{}, false, err
	}
	var stored []byte
	row := tx.QueryRowContext(ctx, `SELECT `+sendColumns+`, digest FROM inbox_sends WHERE idempotency_key = ?`, key)
	if s, err = scanSend(row, &stored); err != nil {
		return Send{}, false, err
	}
	if string(stored) != string(digest[:]) {
		return Send{}, false, ErrKeyReused
	}
	return s, n == 1, nil
}

// sendDigest tells two messages under one key apart after the text is gone.
func sendDigest(to, text string) [32]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%d %s%s", len(to), to, text))
}

func scanSend(row interface{ Scan(...any) error }, more ...any) (Send, error) {
	var s Send
	var created, sent int64
	dest := []any{&s.Key, &s.ID, &s.To, &s.Text, &s.State, &s.Error, &s.Attempts, &created, &sent}
	if err := row.Scan(append(dest, more...)...); err != nil {
		return Send{}, err
	}
	if s.State == SendFailed {
		s.Error, s.Uncertain = strings.CutPrefix(s.Error, uncertain)
	}
	s.CreatedAt = time.UnixMilli(created).UTC()
	if sent != 0 {
		s.SentAt = time.UnixMilli(sent).UTC()
	}
	return s, nil
}

// SendByID returns the send with a message id; ok is false when there is no record of it.
func (in *Inbox) SendByID(ctx context.Context, id string) (s Send, ok bool, err error) {
	s, err = scanSend(in.db.QueryRowContext(ctx, `SELECT `+sendColumns+` FROM inbox_sends WHERE id = ?`, id))
	if errors.Is(err, sql.ErrNoRows) {
		return Send{}, false, nil
	}
	if err != nil {
		return Send{}, false, fmt.Errorf("read send: %w", err)
	}
	return s, true, nil
}

// Attempt counts an attempt that is about to be made: from now on the outcome may be unknown. ErrNotPending when there
// is no attempt to be made.
func (in *Inbox) Attempt(ctx context.Context, id string) error {
	return in.update(ctx, `UPDATE inbox_sends SET attempts = attempts + 1 WHERE id = ? AND state = ?`, id, string(SendPending))
}

// MarkSent records the service's acknowledgement and forgets the text.
func (in *Inbox) MarkSent(ctx context.Context, id string, at time.Time) error {
	return in.settle(ctx, id, `UPDATE inbox_sends SET state = ?, sent_at = ?, text = '', error = '' WHERE id = ?`,
		string(SendDone), at.UnixMilli(), id)
}

// MarkFailed records that the message won't be sent, and why, and forgets the text. reason must not hold the text.
func (in *Inbox) MarkFailed(ctx context.Context, id, reason string) error {
	return in.settle(ctx, id, `UPDATE inbox_sends SET state = ?, error = ?, text = '' WHERE id = ? AND state = ?`,
		string(SendFailed), reason, id, string(SendPending))
}

// uncertain begins the reason of a failed send of which an earlier attempt may have reached the service. It is no state
// of its own: to connectors that don't know a state, what isn't failed is sent.
const uncertain = "an earlier attempt may have reached the service: "

// MarkUncertain is MarkFailed for a message that an earlier attempt may have brought to the service.
func (in *Inbox) MarkUncertain(ctx context.Context, id, reason string) error {
	return in.MarkFailed(ctx, id, uncertain+reason)
}

// settle is update for the end of a send.
func (in *Inbox) settle(ctx context.Context, id, stmt string, args ...any) error {
	if err := in.update(ctx, stmt, args...); err != nil {
		return err
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	delete(in.open, id)
	return nil
}

func (in *Inbox) opened(s Send) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.open[s.ID] = s.CreatedAt
}

// OpenSends counts the sends whose outcome isn't known, and tells when the oldest was reserved, zero if there is none.
// It doesn't ask the file: those of earlier processes are among them once Unfinished was called.
func (in *Inbox) OpenSends() (n int, oldest time.Time) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, created := range in.open {
		if oldest.IsZero() || created.Before(oldest) {
			oldest = created
		}
	}
	return len(in.open), oldest
}

func (in *Inbox) update(ctx context.Context, stmt string, args ...any) error {
	res, err := in.db.ExecContext(ctx, stmt, args...)
	if err != nil {
		return fmt.Errorf("record send: %w", err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return fmt.Errorf("record send: %w", err)
	}
	if n != 1 {
		return fmt.Errorf("record send: %w", ErrNotPending)
	}
	return nil
}

// Unfinished returns the sends whose outcome isn't known, oldest first.
func (in *Inbox) Unfinished(ctx context.Context) ([]Send, error) {
	rows, err := in.db.QueryContext(ctx, `SELECT `+sendColumns+` FROM inbox_sends WHERE state = ? ORDER BY created_at, id`, string(SendPending))
	if err != nil {
		return nil, fmt.Errorf("read sends: %w", err)
	}
	defer rows.Close() //nolint:errcheck // rows.Err below reports what matters
	var list []Send
	for rows.Next() {
		s, err := scanSend(rows)
		if err != nil {
			return nil, fmt.Errorf("read sends: %w", err)
		}
		list = append(list, s)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read sends: %w", err)
	}
	for _, s := range list {
		in.opened(s)
	}
	return list, nil
}
