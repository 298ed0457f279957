// Package sqlitefile reads whatsmeow's own SQLite files, which hold one device or
// many, as Go programs keep them; copies one device into a session file; and writes
// a session file's device as such a file.
//
// The original is only ever read byte by byte: it is copied to a private folder
// with the journal beside it, and SQLite opens the copy. DESIGN.md has the rules.
package sqlitefile

import (
	"errors"
	"fmt"

	"go.mau.fi/whatsmeow/types"
)

// What can be wrong with a file, or with the database it goes into.
var (
	// ErrNotSQLite: the file isn't SQLite's, or is damaged.
	ErrNotSQLite = errors.New("not an intact SQLite file")
	// ErrNotWhatsmeow: a SQLite file without whatsmeow's tables.
	ErrNotWhatsmeow = errors.New("SQLite file without whatsmeow's tables")
	// ErrNewer: the file was written by a newer whatsmeow.
	ErrNewer = errors.New("file of a newer whatsmeow")
	// ErrInUse: another process has the file open, or changed it meanwhile.
	ErrInUse = errors.New("file is in use")
	// ErrUnknownDevice: the file has no such device.
	ErrUnknownDevice = errors.New("file has no such device")
	// ErrDeviceExists: the database has a device already, which is not overwritten.
	ErrDeviceExists = errors.New("session file has a device already")
	// ErrNoDevice: the session file has no device row.
	ErrNoDevice = errors.New("session file has no device")
	// ErrManyDevices: the session file has several device rows.
	ErrManyDevices = errors.New("session file has several devices")
	// ErrExists: something stands where the file is to be written.
	ErrExists = errors.New("file exists")
)

// Device is one device of a file.
type Device struct {
	JID          types.JID `json:"jid"`
	LID          types.JID `json:"lid,omitzero"`
	PushName     string    `json:"push_name,omitempty"`
	BusinessName string    `json:"business_name,omitempty"`
	Platform     string    `json:"platform,omitempty"`
	MaxPreKeyID  uint32    `json:"max_prekey_id"` // a safe start numbers on above it
	Sessions     int       `json:"sessions"`      // Signal sessions
}

// Report says what was copied.
type Report struct {
	Device        Device         `json:"device"`
	SchemaVersion int            `json:"schema_version"` // of the original, before it was brought up to date
	Rows          map[string]int `json:"rows"`           // by table; tables without rows are left out
	// Left counts rows of whatsmeow_lid_map that only concern other devices of the file.
	Left int `json:"left,omitempty"`
}

// table is one of whatsmeow's tables and the column that says whose a row is.
type table struct {
	name, owner string
}

// tables in an order in which rows can be inserted: what is referred to comes
// first. whatsmeow_lid_map has no owner; whatsmeow_version is the schema's.
var tables = []table{
	{"whatsmeow_device", "jid"},
	{"whatsmeow_identity_keys", "our_jid"},
	{"whatsmeow_pre_keys", "jid"},
	{"whatsmeow_sessions", "our_jid"},
	{"whatsmeow_sender_keys", "our_jid"},
	{"whatsmeow_app_state_sync_keys", "jid"},
	{"whatsmeow_app_state_version", "jid"},
	{"whatsmeow_app_state_mutation_macs", "jid"},
	{"whatsmeow_contacts", "our_jid"},
	{"whatsmeow_chat_settings", "our_jid"},
	{"whatsmeow_message_secrets", "our_jid"},
	{"whatsmeow_privacy_tokens", "our_jid"},
	{"whatsmeow_nct_salt", "our_jid"},
	{"whatsmeow_event_buffer", "our_jid"},
	{"whatsmeow_retry_buffer", "our_jid"},
	{lidMap, ""},
}

const lidMap = "whatsmeow_lid_map"

// sentence wraps err as what is wrong with the file at path.
func sentence(path string, err error) error { return fmt.Errorf("%s: %w", path, err) }
