// Package control is the local socket of a running connector: HTTP over a Unix
// socket of mode 0600 in the data directory. Whoever may open the socket may
// use the sessions; there is no other check.
//
// Streams (pairing, messages) are newline-delimited JSON.
package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// SocketName is the socket's file name in the data directory.
const SocketName = "connector.sock"

// maxSocketPath is what sockaddr_un can hold, less the closing zero (unix(7)).
const maxSocketPath = 107

// Session describes one session that this connector knows of.
type Session struct {
	SessionID string     `json:"session_id"`
	State     string     `json:"state"`
	Detail    string     `json:"detail,omitempty"`
	Epoch     uint64     `json:"epoch"`
	Start     string     `json:"start,omitempty"`
	JID       string     `json:"jid,omitempty"`
	Pending   bool       `json:"pending"`
	SyncedAt  *time.Time `json:"synced_at,omitempty"`
	// Unprotected says why incoming messages are acknowledged to WhatsApp before TiDB has them; empty when they
	// are not.
	Unprotected string `json:"unprotected,omitempty"`
}

// PairRequest asks for pairing; Phone is empty for a QR code, else the phone
// number in international form to pair by code.
type PairRequest struct {
	Phone string `json:"phone,omitempty"`
}

// PairEvent is one line of a pairing's stream. The last one is of kind
// "paired", "loaded" (the session came from the cloud: nothing to scan) or
// "failed".
type PairEvent struct {
	Kind  string `json:"kind"` // qr, code, paired, loaded, failed
	QR    string `json:"qr,omitempty"`
	Code  string `json:"code,omitempty"`
	JID   string `json:"jid,omitempty"`
	Error string `json:"error,omitempty"`
	// ValidFor is how long a QR code can be scanned, in milliseconds.
	ValidFor int64 `json:"valid_for_ms,omitempty"`
}

// SendRequest sends a text. A repeated request with the same Key sends nothing
// new and returns the first one's result, or goes on under the first one's message
// id, on whichever connector the session is by then. Keys are remembered for 14
// days; a key with another recipient or text is refused.
type SendRequest struct {
	To   string `json:"to"`
	Text string `json:"text"`
	Key  string `json:"key,omitempty"`
}

// Sent is the service's acknowledgement of a message.
type Sent struct {
	ID        string    `json:"id"`
	Timestamp time.Time `json:"timestamp"`
}

// Outcomes of a message that was not acknowledged, in the answer to a request that sends. An answer without one says that
// this request has sent nothing, and won't. Where there is no answer nobody knows (ErrNoAnswer).
const (
	// OutcomePending: it is to be sent, or was and nobody knows yet. It is repeated; the same request waits for that.
	OutcomePending = "pending"
	// OutcomeUnknown: it won't be repeated, and may have been sent. Under another key it may be shown twice.
	OutcomeUnknown = "unknown"
)

// SendError is an error of Connector.Send that isn't a plain refusal.
type SendError struct {
	Outcome string
	Err     error
}

func (e *SendError) Error() string { return e.Err.Error() }

// Unwrap returns what went wrong.
func (e *SendError) Unwrap() error { return e.Err }

// Message is one received message.
type Message struct {
	// Seq is the message's number in this session: List goes on after it. Numbers only grow, also over restores and
	// pairings, with gaps that are wide there, and stay below 2^53. A message that comes in again after a restore may
	// have another one.
	Seq int64 `json:"seq"`
	// Key is the same for a message wherever and however often it is shown, also to a webhook.
	Key       string    `json:"key"`
	ID        string    `json:"id"`
	Chat      string    `json:"chat"`
	Sender    string    `json:"sender"`
	ChatPN    string    `json:"chat_pn,omitempty"`
	SenderPN  string    `json:"sender_pn,omitempty"`
	FromMe    bool      `json:"from_me,omitempty"`
	PushName  string    `json:"push_name,omitempty"`
	Kind      string    `json:"kind"`
	Text      string    `json:"text"`
	Timestamp time.Time `json:"timestamp"`
}

// Listen opens the socket in dataDir, mode 0600. A socket that a crashed
// process left behind is replaced; the lock on the data directory is what keeps
// two living ones apart.
func Listen(dataDir string) (net.Listener, error) {
	path := filepath.Join(dataDir, SocketName)
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("socket path %s is longer than %d bytes: choose a shorter DATA_DIR", path, maxSocketPath)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove old socket: %w", err)
	}
	addr := &net.UnixAddr{Name: path, Net: "unix"}
	l, err := net.ListenUnix("unix", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on local socket: %w", err)
	}
	// The directory is 0700, so nobody else can reach the socket before this.
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("close local socket to others: %w", err), l.Close())
	}
	return l, nil
}

type errorBody struct {
	Error   string `json:"error"`
	Outcome string `json:"outcome,omitempty"` // of a send
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// The peer is a local process; if it went away there is nobody to tell.
	_ = json.NewEncoder(w).Encode(v)
}
