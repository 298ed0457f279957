package cloudstore

import (
	"encoding/json"
	"time"
)

// States of a command.
const (
	CommandQueued  = "queued"
	CommandRunning = "running"
	CommandDone    = "done"
	CommandFailed  = "failed"
	CommandExpired = "expired"
)

// Kinds of command.
const (
	CommandSync    = "sync"
	CommandRestore = "restore"
)

// Command is a row of commands.
type Command struct {
	ID          string // ULID
	SessionID   string
	Kind        string // CommandSync or CommandRestore
	Args        json.RawMessage
	State       string
	Attempt     int
	ConnectorID string // the target while queued ("" for none), the claimer from then on
	Incarnation string // of the claimer
	RequestedBy string
	RequestID   string
	ErrorCode   string
	Error       string
	Result      json.RawMessage
	CreatedAt   time.Time
	Deadline    time.Time
	StartedAt   *time.Time
	FinishedAt  *time.Time
}
