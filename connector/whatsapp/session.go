package whatsapp

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"

	"cloudsession/connector/inbox"
)

// SessionFile is what a session needs of its file: connector/capture's *File.
type SessionFile interface {
	DB() *sql.DB
	// Install puts capture's triggers on every table; it runs after each upgrade of the schema.
	Install(ctx context.Context) (schemaChanged bool, err error)
}

// Config is a session's configuration.
type Config struct {
	// SessionID names the session in logs.
	SessionID string
	// File is the session file. The caller closes it, after Stop (W5).
	File SessionFile
	// Endpoint is the service; the zero value is the real one.
	Endpoint Endpoint
	// Log receives the session's own lines and whatsmeow's warnings, without contents, keys and phone numbers.
	Log *slog.Logger
	// Inbox is the file's inbox; made by Open when nil.
	Inbox *inbox.Inbox
	// OnState is told every change of state. It must not block and must not call the session.
	OnState func(State, string)
	// MayConnect, when set, is asked before each attempt to connect (O9). An error delays the attempt.
	MayConnect func(context.Context) error
	// DeviceName is what the phone shows for a newly linked device; "Cloud Session Sync" when empty.
	DeviceName string
	// Debug lets whatsmeow's debug lines through, unfiltered: whole stanzas, with phone numbers and QR contents.
	Debug bool
}

// PrepareSafe says what a safe start knows about the state before it.
type PrepareSafe struct {
	// MaxPreKeyID is the highest prekey id in any readable segment of the session's log, fenced epochs included.
	MaxPreKeyID uint32
	// CredentialsOnly is set when there is no log: nobody knows which ids were used.
	CredentialsOnly bool
}

// PairRequest says how a phone is to be linked.
type PairRequest struct {
	// Phone is the number to link by a pairing code, international ("+62 812…"). Empty: by QR code.
	Phone string
}

// PairEventKind says what a PairEvent is.
type PairEventKind string

// The kinds of PairEvent. All but PairQR and PairCode end the pairing.
const (
	PairQR      PairEventKind = "qr"      // Text is to be shown as a QR code, in place of the one before
	PairCode    PairEventKind = "code"    // Text is the code to type into the phone
	PairSuccess PairEventKind = "success" // linked and connected
	PairTimeout PairEventKind = "timeout" // nobody answered in time
	PairPasskey PairEventKind = "passkey" // WhatsApp asks for a passkey, which this program can't give; Text explains
	PairFailed  PairEventKind = "failed"  // Err says why
)

// PairEvent is one step of a pairing. Text is a secret for PairQR and PairCode: show it, never log it.
type PairEvent struct {
	Kind PairEventKind
	Text string
	Err  error
}

// Session is one live session. Its methods may be called at the same time.
type Session struct{}

var errTodo = errors.New("not written yet")

// Open prepares a session over its file: upgrades whatsmeow's tables, creates the inbox's, installs capture's triggers
// and the guards. It opens no socket.
func Open(ctx context.Context, cfg Config) (*Session, error) { return nil, errTodo }

// SchemaChanged tells whether opening changed captured tables: the next push must then be a base (C1).
func (s *Session) SchemaChanged() bool { return false }

// Paired tells whether the file holds a device.
func (s *Session) Paired() bool { return false }

// Inbox returns the session's inbox.
func (s *Session) Inbox() *inbox.Inbox { return nil }

// State returns what the session is doing, and a sentence about it that may be empty.
func (s *Session) State() (State, string) { return StateStopped, "" }

// PrepareSafe readies a file for a safe start (section 7, steps 2 to 4), before Connect and before the base is pushed.
func (s *Session) PrepareSafe(ctx context.Context, p PrepareSafe) error { return errTodo }

// Connect starts the session and returns once it is connected, or with a typed error once it can't be.
func (s *Session) Connect(ctx context.Context, safe bool) error { return errTodo }

// Pair links a new device and leaves the session connected.
func (s *Session) Pair(ctx context.Context, r PairRequest) (<-chan PairEvent, error) {
	return nil, errTodo
}

// Sent is a message the service has acknowledged.
type Sent struct{}

// Send sends a text.
func (s *Session) Send(ctx context.Context, to, text, id string) (Sent, error) {
	return Sent{}, errTodo
}

// Stop ends the session (O6, first half; W5).
func (s *Session) Stop(ctx context.Context) error { return errTodo }
