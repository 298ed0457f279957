package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// Version is the version of the message format, the "v" of every message.
const Version = 1

// The kinds of command a message may announce.
const (
	// KindSync asks the session's owner to make everything durable now.
	KindSync = "sync"
	// KindRestore asks a connector to take the session and start it from the cloud.
	KindRestore = "restore"
)

// MaxMessageSize is the largest message body that is decoded, in bytes. A
// message holds only ids, the largest of which is a session id of 255 runes.
const MaxMessageSize = 8 << 10

// The largest session id: 255 runes. See cloudstore.ValidateSessionID, which
// the reader of the command's row applies; here it only bounds a message.
const maxSessionIDRunes = 255

// ErrBadMessage is what every error of Decode wraps: the body is not a message
// of this version, and receiving it again will not change that.
var ErrBadMessage = errors.New("malformed command message")

// A Message announces a row of the commands table. It carries ids only: the
// row is the truth, and a message without a row is ignored.
type Message struct {
	V         int    `json:"v"`         // Version
	CommandID string `json:"commandId"` // ULID, 26 characters
	SessionID string `json:"sessionId"`
	Kind      string `json:"kind"`    // KindSync or KindRestore
	Attempt   int    `json:"attempt"` // 0 for the first sending of the command, then the row's attempt
}

// Encode gives the message's body. V is set to Version.
func (m Message) Encode() ([]byte, error) {
	m.V = Version
	if err := m.validate(); err != nil {
		return nil, fmt.Errorf("encode command message: %w", err)
	}
	return json.Marshal(m)
}

// Decode reads a message's body strictly: one JSON object with exactly the
// known fields, version 1, a known kind, a size up to MaxMessageSize. Every
// error wraps ErrBadMessage and names the field but never quotes the body.
func Decode(body []byte) (Message, error) {
	if len(body) > MaxMessageSize {
		return Message{}, fmt.Errorf("%w: %d bytes, more than %d", ErrBadMessage, len(body), MaxMessageSize)
	}
	if !utf8.Valid(body) {
		return Message{}, fmt.Errorf("%w: not UTF-8", ErrBadMessage)
	}
	var m Message
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return Message{}, fmt.Errorf("%w: not the JSON object expected", ErrBadMessage)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Message{}, fmt.Errorf("%w: something follows the object", ErrBadMessage)
	}
	if err := m.validate(); err != nil {
		return Message{}, err
	}
	return m, nil
}

func (m Message) validate() error {
	switch {
	case m.V != Version:
		return fmt.Errorf("%w: version %d, expected %d", ErrBadMessage, m.V, Version)
	case !isULID(m.CommandID):
		return fmt.Errorf("%w: commandId is not a ULID", ErrBadMessage)
	case m.SessionID == "" || !utf8.ValidString(m.SessionID) || utf8.RuneCountInString(m.SessionID) > maxSessionIDRunes:
		return fmt.Errorf("%w: sessionId is empty or too long", ErrBadMessage)
	case m.Kind != KindSync && m.Kind != KindRestore:
		return fmt.Errorf("%w: unknown kind", ErrBadMessage)
	case m.Attempt < 0:
		return fmt.Errorf("%w: attempt is negative", ErrBadMessage)
	}
	return nil
}

// isULID reports whether s has the form of a ULID: 26 characters of Crockford's
// base 32, upper case, the first at most 7 (https://github.com/ulid/spec).
func isULID(s string) bool {
	if len(s) != 26 || s[0] > '7' {
		return false
	}
	for _, c := range []byte(s) {
		digit := c >= '0' && c <= '9'
		letter := c >= 'A' && c <= 'Z' && c != 'I' && c != 'L' && c != 'O' && c != 'U'
		if !digit && !letter {
			return false
		}
	}
	return true
}
