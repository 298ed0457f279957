// Package cloudstore keeps session state in TiDB: the sealed log and
// credentials of each session, who owns it, the connectors and the commands.
// DESIGN.md beside this file states the SQL protocol and its invariants.
package cloudstore

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"log/slog"
	"time"
)

// TLSMode says how a connection to the database is protected.
type TLSMode string

// The TLS modes.
const (
	TLSDefault TLSMode = ""       // TLSVerify, but TLSOff when Host is loopback
	TLSVerify  TLSMode = "verify" // TLS 1.2 or later, certificate and name verified
	TLSOff     TLSMode = "off"    // plain text: only by explicit choice
)

// Config says which database to use and how.
type Config struct {
	Host     string // name or IP address
	Port     int    // 0 means 4000
	User     string
	Password string // never logged
	Database string
	TLS      TLSMode
	CAFile   string        // PEM file with extra roots for TLSVerify
	MaxConns int           // 0 means 16; a Lambda wants 1 or 2
	Timeout  time.Duration // to dial, and for each read and write on the wire; 0 means 10 s
	Watcher  Watcher       // sees every statement; nil: nobody
	Log      *slog.Logger  // hears of connections in plain text; nil: slog.Default()
}

// Watcher puts something between the pool and the driver, such as a clock.
type Watcher interface {
	// Statements returns a connector whose connections offer all that those of its
	// argument do.
	Statements(driver.Connector) driver.Connector
}

// Errors a caller decides on. Test with errors.Is.
var (
	// ErrNotFound: the database answered, and there is no such row.
	ErrNotFound = errors.New("not found")
	// ErrFenced: the epoch, incarnation or claim given is no longer current.
	ErrFenced = errors.New("fenced: no longer current")
	// ErrBadSessionID: not 1–255 characters of printable text.
	ErrBadSessionID = errors.New("bad session id")
	// ErrNotTakeable: the session may not be taken by this connector now.
	ErrNotTakeable = errors.New("session may not be taken now")
	// ErrIncarnation: another live process holds this connector id.
	ErrIncarnation = errors.New("connector id is held by another process")
	// ErrTooLarge: refused before sending, see MaxSegmentBytes and its kin.
	ErrTooLarge = errors.New("too large for the database")
	// ErrBadInput: a value the tables can't hold.
	ErrBadInput = errors.New("bad input")
)

// Store is a pool of connections to the database. Its methods may be called
// from several goroutines.
type Store struct {
	db     *sql.DB
	config Config
}

// SessionEpoch names a session and the epoch its caller holds it under.
type SessionEpoch struct {
	SessionID string
	Epoch     uint64
}
