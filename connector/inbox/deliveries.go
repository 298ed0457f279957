package inbox

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// deliverAfter is the mark that holds the number up to which nothing is left to be delivered. It is missing in a
// session that never had anybody to deliver to.
const deliverAfter = "deliver_after"

// origin makes Message.Origin. Only the addresses that the service wrote go into it: Chat and Sender depend on what
// this device has learnt, and another one that gets the same message again may know more, or less.
func origin(m Message) string {
	h := sha256.New()
	for _, part := range []string{orElse(m.FromChat, m.Chat), orElse(m.FromSender, m.Sender), m.ID} {
		fmt.Fprintf(h, "%d %s", len(part), part)
	}
	return hex.EncodeToString(h.Sum(nil)[:20])
}

// Pending says where a message that may have to be delivered belongs, without its content.
type Pending struct {
	Seq          int64
	Chat, ChatPN string
}

// StartDelivery makes every message that is stored from now on one that has to be delivered. Those that are there
// already are not: nobody who connects an application expects it to be told of last week. In a session that it was
// called for before, here or on another machine, it does nothing: what came in while no application was connected
// is delivered then.
func (in *Inbox) StartDelivery(ctx context.Context) error {
	const put = `INSERT INTO inbox_marks (name, value) SELECT ?, coalesce(MAX(seq), 0) FROM inbox_messages WHERE true
		ON CONFLICT (name) DO NOTHING`
	if _, err := in.db.ExecContext(ctx, put, deliverAfter); err != nil {
		return fmt.Errorf("start delivery: %w", err)
	}
	return nil
}

// Delivers reports whether StartDelivery was ever called for the session.
func (in *Inbox) Delivers(ctx context.Context) (bool, error) {
	_, ok, err := in.Mark(ctx, deliverAfter)
	return ok, err
}

// Undelivered returns up to limit messages with a Seq above after that are still to be delivered, oldest first.
// There are none before StartDelivery.
func (in *Inbox) Undelivered(ctx context.Context, after int64, limit int) ([]Pending, error) {
	const query = `SELECT seq, chat, chat_pn FROM inbox_messages m WHERE ` + undelivered + ` ORDER BY seq LIMIT ?`
	rows, err := in.db.QueryContext(ctx, query, after, deliverAfter, limit)
	if err != nil {
		return nil, fmt.Errorf("read undelivered messages: %w", err)
	}
	defer rows.Close() //nolint:errcheck // rows.Err below reports what matters
	var list []Pending
	for rows.Next() {
		var p Pending
		if err := rows.Scan(&p.Seq, &p.Chat, &p.ChatPN); err != nil {
			return nil, fmt.Errorf("read undelivered messages: %w", err)
		}
		list = append(list, p)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read undelivered messages: %w", err)
	}
	return list, nil
}

// undelivered picks the rows of inbox_messages m above a number that are still to be delivered. Its parameters are
// the number and deliverAfter. Without the mark the comparison is with NULL, and picks none.
const undelivered = `seq > max(?, (SELECT CAST(value AS INTEGER) FROM inbox_marks WHERE name = ?))
	AND NOT EXISTS (SELECT 1 FROM inbox_deliveries d WHERE d.seq = m.seq)`

// NextUndelivered returns the oldest message above after that is stored under one of the chats and still to be
// delivered; ok is false when there is none.
func (in *Inbox) NextUndelivered(ctx context.Context, chats []string, after int64) (m Message, ok bool, err error) {
	if len(chats) == 0 {
		return Message{}, false, nil
	}
	query := `SELECT ` + messageColumns + ` FROM inbox_messages m WHERE ` + undelivered +
		` AND chat IN (?` + strings.Repeat(", ?", len(chats)-1) + `) ORDER BY seq LIMIT 1`
	args := []any{after, deliverAfter}
	for _, chat := range chats {
		args = append(args, chat)
	}
	list, err := in.query(ctx, query, args...)
	if err != nil || len(list) == 0 {
		return Message{}, false, err
	}
	return list[0], true, nil
}

// MarkDelivered notes that the application has taken a message. To note it once more changes nothing.
func (in *Inbox) MarkDelivered(ctx context.Context, m Message) error {
	const put = `INSERT INTO inbox_deliveries (seq, delivered_at) VALUES (?, ?) ON CONFLICT (seq) DO NOTHING`
	if _, err := in.db.ExecContext(ctx, put, m.Seq, in.now().UnixMilli()); err != nil {
		return fmt.Errorf("note delivery: %w", err)
	}
	in.delivered(m.identity())
	return nil
}

// compactDeliveries moves the mark over everything that is delivered and forgets the single notes below it.
func (in *Inbox) compactDeliveries(ctx context.Context) error {
	tx, err := in.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("compact deliveries: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it does nothing, and without it the first error is the one to report
	const reached = `SELECT coalesce((SELECT MIN(seq) - 1 FROM inbox_messages m WHERE ` + undelivered + `),
		(SELECT MAX(seq) FROM inbox_messages), 0), CAST(value AS INTEGER) FROM inbox_marks WHERE name = ?`
	var upTo, before int64
	err = tx.QueryRowContext(ctx, reached, 0, deliverAfter, deliverAfter).Scan(&upTo, &before)
	if errors.Is(err, sql.ErrNoRows) || err == nil && upTo <= before {
		return nil
	}
	if err != nil {
		return fmt.Errorf("compact deliveries: %w", err)
	}
	if _, err := tx.ExecContext(ctx, `UPDATE inbox_marks SET value = ? WHERE name = ?`, upTo, deliverAfter); err != nil {
		return fmt.Errorf("compact deliveries: %w", err)
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM inbox_deliveries WHERE seq <= ?`, upTo); err != nil {
		return fmt.Errorf("compact deliveries: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("compact deliveries: %w", err)
	}
	return nil
}

// identity is what a message is awaited by.
type identity struct{ chat, sender, id string }

func (m Message) identity() identity { return identity{m.Chat, m.Sender, m.ID} }

// awaited is shared by all who wait for one message.
type awaited struct {
	done    chan struct{}
	waiting int
}

// AwaitDelivery returns a channel that is closed once the application has taken the message with m's Chat, Sender
// and ID (A1: it may be acknowledged then, wherever TiDB is). Call it before Add, or the delivery may come first.
// Call stop when it isn't needed any more.
func (in *Inbox) AwaitDelivery(m Message) (taken <-chan struct{}, stop func()) {
	in.mu.Lock()
	defer in.mu.Unlock()
	key := m.identity()
	a := in.awaited[key]
	if a == nil {
		a = &awaited{done: make(chan struct{})}
		in.awaited[key] = a
	}
	a.waiting++
	return a.done, func() {
		in.mu.Lock()
		defer in.mu.Unlock()
		if a.waiting--; a.waiting == 0 && in.awaited[key] == a {
			delete(in.awaited, key)
		}
	}
}

func (in *Inbox) delivered(key identity) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if a := in.awaited[key]; a != nil {
		close(a.done)
		delete(in.awaited, key)
	}
}
