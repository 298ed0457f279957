package inbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Retention is how long records are kept at least, by the clock and by the times that the service tells, and with them
// the promise that a message is shown only once. Of messages that were delivered the oldest go before that once they
// weigh more than 64 MiB. What is still to be delivered, or to be sent, stays; see Prune.
const Retention = 14 * 24 * time.Hour

// keepBytes is how much of what was delivered, or needs no delivery, is kept at most, and how much of what does once it
// is older than Retention. All of the inbox is part of the session's base, which has to fit into one push.
const keepBytes = 64 << 20

// pruneEvery is how often an Add prunes old records.
const pruneEvery = time.Hour

// Message is one message that came in (or that another device of the same account sent).
type Message struct {
	// Seq is the local order, set by Add and List. It only grows, and stays below 2^53.
	Seq int64
	// Chat and Sender are bare JIDs (no device part): the LID if it is known, else the phone number's.
	// For a 1:1 message from the other side they are equal.
	Chat, Sender string
	// ChatPN and SenderPN are the phone number JIDs, empty when not known.
	ChatPN, SenderPN string
	// ID is the message id its sender gave it.
	ID string
	// FromMe is set for messages that another device of this account sent.
	FromMe   bool
	PushName string
	// Kind says what the message holds: "text", "image", "reaction" and so on.
	Kind string
	// Text is the text, or the caption of a medium.
	Text string
	// Payload is the message as a marshalled waE2E.Message where Text alone doesn't carry it; nil for plain text.
	Payload []byte
	// PayloadCut is set where there is none because it was too large to keep. It is stored as a payload of no bytes,
	// which no message has: another column would make every session's next push a base, and a log that older
	// connectors can't read.
	PayloadCut bool
	// SentAt is the time the service stamped on it, ReceivedAt the time it was stored here. Whole milliseconds, UTC.
	SentAt, ReceivedAt time.Time
	// FromChat and FromSender are the addresses as the service wrote them on the message, without what this device
	// has learnt about them since. Add makes Origin of them; Chat and Sender stand in where they are empty. They
	// aren't stored.
	FromChat, FromSender string
	// Origin names the message among all of the session, 40 hexadecimal digits: the same on every connector and each
	// time the service delivers the message, also when a LID or phone number of the sender was learnt in between.
	// Set by Add and List.
	Origin string
}

// Inbox gives access to the inbox tables of one session file. Its methods may be called at the same time.
type Inbox struct {
	db   *sql.DB
	now  func() time.Time
	keep int64 // keepBytes, less in tests

	mu        sync.Mutex
	watchers  map[chan struct{}]struct{}
	awaited   map[identity]*awaited
	open      map[string]time.Time // when the sends whose outcome isn't known were reserved, by id
	lastPrune time.Time
}

// Options are the settings of an Inbox. The zero value is ready for use.
type Options struct {
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

// New returns the inbox of a session file on which Migrate has run.
func New(db *sql.DB, o Options) *Inbox {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Inbox{db: db, now: o.Now, keep: keepBytes, watchers: make(map[chan struct{}]struct{}), awaited: make(map[identity]*awaited), open: make(map[string]time.Time)}
}

const messageColumns = `seq, chat, sender, id, chat_pn, sender_pn, from_me, push_name, kind, text, payload,
	coalesce(length(payload) = 0, 0) AS payload_cut, sent_at, received_at, origin`

// Add stores a message, unless it is there already, in one transaction. isNew tells whether it was stored.
// The same message may come in under the sender's LID once and under the phone number another time; both count as one.
func (in *Inbox) Add(ctx context.Context, m Message) (isNew bool, err error) {
	if m.ID == "" || m.Chat == "" || m.Sender == "" {
		return false, errors.New("store message: id, chat and sender are needed")
	}
	in.maybePrune(ctx)
	tx, err := in.db.BeginTx(ctx, nil)
	if err != nil {
		return false, fmt.Errorf("store message: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it does nothing, and without it the first error is the one to report
	seen, err := known(ctx, tx, m)
	if err != nil || seen {
		return false, err
	}
	const insert = `INSERT INTO inbox_messages
		(chat, sender, id, chat_pn, sender_pn, from_me, push_name, kind, text, payload, sent_at, received_at, origin)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, iif(?, x'', nullif(?, x'')), ?, ?, ?)`
	_, err = tx.ExecContext(ctx, insert, m.Chat, m.Sender, m.ID, m.ChatPN, m.SenderPN, m.FromMe, m.PushName,
		m.Kind, m.Text, m.PayloadCut, m.Payload, m.SentAt.UnixMilli(), in.now().UnixMilli(), origin(m))
	if err != nil {
		return false, fmt.Errorf("store message: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return false, fmt.Errorf("store message: %w", err)
	}
	in.wake()
	return true, nil
}

// known tells whether the message is stored under any of its addresses.
func known(ctx context.Context, tx *sql.Tx, m Message) (bool, error) {
	const query = `SELECT COUNT(*) FROM inbox_messages WHERE id = ?
		AND (sender IN (?, ?) OR (sender_pn <> '' AND sender_pn IN (?, ?)))
		AND (chat IN (?, ?) OR (chat_pn <> '' AND chat_pn IN (?, ?)))`
	senderPN, chatPN := orElse(m.SenderPN, m.Sender), orElse(m.ChatPN, m.Chat)
	var n int
	err := tx.QueryRowContext(ctx, query, m.ID, m.Sender, senderPN, m.Sender, senderPN, m.Chat, chatPN, m.Chat, chatPN).Scan(&n)
	if err != nil {
		return false, fmt.Errorf("look for message: %w", err)
	}
	return n > 0, nil
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// List returns up to limit messages with a Seq above after, oldest first.
func (in *Inbox) List(ctx context.Context, after int64, limit int) ([]Message, error) {
	query := `SELECT ` + messageColumns + ` FROM inbox_messages WHERE seq > ? ORDER BY seq LIMIT ?`
	return in.query(ctx, query, after, limit)
}

// Last returns the newest n messages, oldest first.
func (in *Inbox) Last(ctx context.Context, n int) ([]Message, error) {
	query := `SELECT * FROM (SELECT ` + messageColumns + ` FROM inbox_messages ORDER BY seq DESC LIMIT ?) ORDER BY seq`
	return in.query(ctx, query, n)
}

func (in *Inbox) query(ctx context.Context, query string, args ...any) ([]Message, error) {
	rows, err := in.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read messages: %w", err)
	}
	defer rows.Close() //nolint:errcheck // rows.Err below reports what matters
	var list []Message
	for rows.Next() {
		var m Message
		var sent, received int64
		err := rows.Scan(&m.Seq, &m.Chat, &m.Sender, &m.ID, &m.ChatPN, &m.SenderPN, &m.FromMe, &m.PushName,
			&m.Kind, &m.Text, &m.Payload, &m.PayloadCut, &sent, &received, &m.Origin)
		if err != nil {
			return nil, fmt.Errorf("read messages: %w", err)
		}
		if m.PayloadCut {
			m.Payload = nil
		}
		m.Origin = orElse(m.Origin, origin(m))
		m.SentAt, m.ReceivedAt = time.UnixMilli(sent).UTC(), time.UnixMilli(received).UTC()
		list = append(list, m)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read messages: %w", err)
	}
	return list, nil
}
