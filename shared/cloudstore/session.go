package cloudstore

import "time"

// Credentials is the sealed content of a row of whatsapp_sessions. Epoch is 0
// for rows of the Node service that were never taken.
type Credentials struct {
	SessionID string
	Data      []byte
	Epoch     uint64
}

// Session is what the API lists.
type Session struct {
	SessionID    string
	LastSyncedAt *time.Time // the later of last_synced_at and the owner's synced_at
	CreatedAt    time.Time
	UpdatedAt    time.Time
}

// Status is a session with what is known about its owner.
type Status struct {
	Session
	State, StateDetail string
	ConnectorID        string // "" when nobody owns it
	Start              string // how the current epoch started; "" when never taken
	Backup             string
	Epoch              uint64
	Live               bool // its owner is live by TiDB's clock
}
