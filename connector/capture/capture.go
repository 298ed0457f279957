// Package capture holds one session's SQLite file and knows what changed in it.
//
// Triggers note the primary key of every row that changes, in the same file and
// the same transaction as the change itself. Delta reads the noted rows, Base
// reads all of them, Create and Apply write them into another file. What has been noted
// is forgotten only by Acknowledge, and only as far as the push that is
// acknowledged had seen it.
//
// Captured are the tables whatsmeow_* (without whatsmeow_version, which travels
// as a number) and inbox_*. The package's own tables are called cloudsession_*
// and never leave the file.
package capture

import (
	"errors"

	"cloudsession/shared/envelope"
	"cloudsession/shared/sessionlog"
)

var (
	// ErrClosed is returned once Close has been called.
	ErrClosed = errors.New("session file is closed")
	// ErrNotInstalled is returned by a read of changes from a file whose triggers
	// don't cover its tables: Install is missing after an Upgrade.
	ErrNotInstalled = errors.New("capture is not installed in the session file")
	// ErrNeedBase is returned by Delta while only a base may be pushed: at the
	// start of a safe term, and after the captured schema has changed.
	ErrNeedBase = errors.New("session file needs a base before a delta")
	// ErrLong is returned by DeltaUpTo and BaseUpTo for rows that weigh more.
	ErrLong = errors.New("rows are more than was asked for")
	// ErrSchema means that a push does not fit the tables of the file it is
	// applied to, or that a captured table can't be captured. The text names the
	// table and the schema versions.
	ErrSchema = errors.New("schema does not fit")
	// ErrCorrupt means that the file breaks SQLite's own checks.
	ErrCorrupt = errors.New("session file is corrupt")
	// ErrNotInFlight is returned by Acknowledge for a push that is not the one
	// in flight.
	ErrNotInFlight = errors.New("push is not in flight")
)

// Options says how a file is opened.
type Options struct {
	// OnCommit is called after a write to the file was committed, from the
	// goroutine that wrote. It must not block and must not use the file. It may
	// be called more than once for one commit, and for a commit that failed at
	// the last moment; never too seldom. The package's own bookkeeping does not
	// cause it.
	OnCommit func()
}

// Changes is what one read transaction saw.
type Changes struct {
	// Push holds the records, sorted by table and key, so that the same rows
	// give the same bytes.
	Push sessionlog.Push
	// Mark is what Acknowledge needs to forget exactly these changes.
	Mark Mark
	// HasDevice tells whether the snapshot contains the whatsmeow_device row.
	// Without it nothing is to be pushed (P6).
	HasDevice bool
	// CredentialsChanged tells whether the push touches the rows that the
	// credentials are made from: the device and the app state sync keys. It is
	// true for every base.
	CredentialsChanged bool
}

// Mark is the watermark of a read. Entries carry the generation of their
// change, a number that grows with every read: all entries up to Number were
// seen, every change since has a higher one.
type Mark struct {
	Number int64
	Schema string   // fingerprint of the captured tables at the time of the read
	Tables []string // captured tables that had entries
}

// InFlight is a push that was sent or is about to be (P3).
type InFlight struct {
	Epoch    uint64
	FirstSeq uint64     // of the first part
	Tags     [][32]byte // one for each part
	Bytes    int64      // sealed
	Base     bool
	Mark     Mark
}

// Last returns the cursor that stands after the push once it is durable.
func (p InFlight) Last() sessionlog.Cursor {
	if len(p.Tags) == 0 {
		return sessionlog.Cursor{}
	}
	return sessionlog.Cursor{
		Epoch: p.Epoch,
		Seq:   p.FirstSeq + uint64(len(p.Tags)) - 1,
		Tag:   p.Tags[len(p.Tags)-1],
	}
}

// State is what the file knows about its own replication.
type State struct {
	SessionID string // empty before the first Begin
	Epoch     uint64
	Salt      envelope.Salt
	Acked     sessionlog.Cursor // the last row known durable
	InFlight  *InFlight         // nil if nothing may be in flight
	Log       LogSize           // of the log up to Acked, as far as the file knows
	NeedBase  bool              // the next push must be a base
	Dirty     bool              // something is noted and not yet acknowledged
	BootID    string            // the boot in which Begin was called
	Inode     uint64            // of the file when Begin was called
}

// Begin starts a term of ownership in a file.
type Begin struct {
	SessionID string
	Epoch     uint64
	Salt      envelope.Salt
	Acked     sessionlog.Cursor // where the log stands: the parent's last data row, or zero
	Log       LogSize           // of the log up to there; zero: what the file knows of it
	NeedBase  bool              // the first push must be a base; an outstanding need is kept anyway
	BootID    string            // BootID() now
}
