package capture

import (
	"context"
	"database/sql"
	"errors"

	"cloudsession/shared/sessionlog"
)

var errTodo = errors.New("not written yet")

// File is an open session file. It is safe for concurrent use.
type File struct {
	db   *sql.DB
	path string
}

// Open opens the session file at path, creating it if there is none.
func Open(ctx context.Context, path string, o Options) (*File, error) { return nil, errTodo }

// DB returns the handle that whatsmeow and the inbox use.
func (f *File) DB() *sql.DB { return f.db }

// Path returns the path given to Open.
func (f *File) Path() string { return f.path }

// Close closes the file. After it has returned nothing is committed any more (W5).
func (f *File) Close() error { return errTodo }

// Install puts triggers on every captured table. Call it after every Upgrade.
func (f *File) Install(ctx context.Context) (schemaChanged bool, err error) { return false, errTodo }

// Delta reads the rows that changed. The bool tells whether there are any.
func (f *File) Delta(ctx context.Context) (Changes, bool, error) { return Changes{}, false, errTodo }

// Base reads all rows.
func (f *File) Base(ctx context.Context) (Changes, error) { return Changes{}, errTodo }

// SetInFlight notes what is about to be sent.
func (f *File) SetInFlight(ctx context.Context, p InFlight) error { return errTodo }

// Acknowledge notes that p is durable.
func (f *File) Acknowledge(ctx context.Context, p InFlight) error { return errTodo }

// State reads what the file knows.
func (f *File) State(ctx context.Context) (State, error) { return State{}, errTodo }

// Begin starts a term.
func (f *File) Begin(ctx context.Context, b Begin) error { return errTodo }

// Apply replays one push (L3).
func (f *File) Apply(ctx context.Context, p sessionlog.Push) error { return errTodo }

// Check runs SQLite's foreign key and integrity checks.
func (f *File) Check(ctx context.Context) error { return errTodo }
