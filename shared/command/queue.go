// Package command carries commands from the API's functions to connectors. A
// command is a row in TiDB; what travels here is only the knock on the door, so
// every message may be lost, late, repeated or malformed without harm.
package command

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"
)

// ErrNoQueue says that the queue does not exist: it was never created, or was
// removed when its connector was forgotten. The connector's answer is to create
// it again, the sender's to leave the command to its row.
var ErrNoQueue = errors.New("queue does not exist")

// ErrReceiptExpired says that a delivery's receipt is no longer good: the
// message became visible again, was received by somebody else, or is gone.
var ErrReceiptExpired = errors.New("receipt has expired")

// A Queue moves messages to connectors in order for each session, at least once.
//
// Every method may fail with an error of the transport, which says nothing about
// whether the call took effect; repeating it does no harm. Besides those, the
// errors named at the methods are the only ones a caller can act on.
type Queue interface {
	// Create makes the connector's queue, or finds it when it is there already
	// and brings its settings up to date. See QueueName for name. SQS refuses it
	// for a minute after a queue of that name was removed.
	Create(ctx context.Context, name string) (url string, err error)
	// Send sends m. Sending the same command and attempt again within five
	// minutes delivers nothing new. ErrNoQueue when there is no such queue.
	Send(ctx context.Context, url string, m Message) error
	// Receive waits up to wait (at most 20 s, whole seconds) for messages and
	// returns as soon as there is one; none in time is no error. A delivery is
	// hidden from other receivers for VisibilityTimeout and comes again if it is
	// not deleted by then. ErrNoQueue when there is no such queue.
	Receive(ctx context.Context, url string, wait time.Duration) ([]Delivery, error)
	// Delete removes a delivery for good. ErrReceiptExpired when it may come again.
	Delete(ctx context.Context, url, receipt string) error
}

// A Delivery is one message received.
type Delivery struct {
	Message Message
	// Receipt names this delivery for Delete.
	Receipt string
	// Bad is set, wrapping ErrBadMessage, when the body is no message; Message is
	// then zero. Such a delivery should be logged and deleted.
	Bad error
	// ReceiveCount is how often the message has been received, this time included.
	ReceiveCount int
}

// Settings of every queue made by Create.
const (
	// VisibilityTimeout is how long a delivery is hidden from other receivers.
	VisibilityTimeout = 30 * time.Second
	// Retention is how long a message nobody takes is kept. A command's row
	// expires before that, and the row is what counts.
	Retention = 15 * time.Minute
	// MaxReceives is how often a message is delivered before it goes to the dead-letter queue.
	MaxReceives = 5
)

// maxQueueName is SQS's limit for a name, ".fifo" included
// (https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-queues.html).
const maxQueueName = 80

// QueueName is the name of a connector's queue: "<prefix>-<connector id>.fifo".
// SQS allows letters, digits, "-" and "_", 80 characters in all; whatever else
// the id holds is replaced by "-", and such or longer ids get 12 hex digits of
// their SHA-256 at the end so that two of them never share a queue.
func QueueName(prefix, connectorID string) string {
	const suffix = ".fifo"
	name := []byte(prefix + "-" + connectorID)
	clean := true
	for i, c := range name {
		if !isQueueNameChar(c) {
			name[i], clean = '-', false
		}
	}
	if clean && len(name)+len(suffix) <= maxQueueName {
		return string(name) + suffix
	}
	sum := sha256.Sum256([]byte(prefix + "-" + connectorID))
	tail := "-" + hex.EncodeToString(sum[:6]) + suffix
	return string(name[:min(len(name), maxQueueName-len(tail))]) + tail
}

func isQueueNameChar(c byte) bool {
	return c == '-' || c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// groupID is a session's MessageGroupId: hex, because SQS takes at most 128
// characters of a small alphabet and a session id is 255 runes of any text.
func groupID(sessionID string) string {
	sum := sha256.Sum256([]byte(sessionID))
	return hex.EncodeToString(sum[:])
}
