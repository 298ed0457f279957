package capture

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

const (
	busyTimeout = 10 * time.Second // how long a write waits for another one
	idleConns   = 2                // one writing, one reading the delta
	closeWait   = 5 * time.Second  // for transactions that Close finds running
)

// File is an open session file. It is safe for concurrent use.
type File struct {
	db       *sql.DB
	path     string
	onCommit func()

	entering sync.Mutex  // orders new connections against Close
	closing  atomic.Bool // commits are refused from now on
	conns    sync.WaitGroup

	closeWait time.Duration // closeWait, but in tests

	mu     sync.Mutex
	layout *layout // of the captured tables, nil until needed; see currentLayout
}

// Open opens the session file at path, creating it (0600) and its folder (0700)
// when there is none. Foreign keys are on, transactions begin immediate, and
// the journal is a WAL with synchronous NORMAL: a commit survives the process,
// not the machine, which BootID is there to notice. ErrCorrupt tells that what
// stands at path is no intact SQLite file.
func Open(ctx context.Context, path string, o Options) (*File, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open session file: %w", err)
	}
	if err := prepare(abs); err != nil {
		return nil, fmt.Errorf("open session file: %w", err)
	}
	base, err := sqlite.NewConnector(dsn(abs))
	if err != nil {
		return nil, fmt.Errorf("open session file %s: %w", path, err)
	}
	f := &File{path: path, onCommit: o.OnCommit, closeWait: closeWait}
	if f.onCommit == nil {
		f.onCommit = func() {}
	}
	f.db = sql.OpenDB(connector{Connector: base, f: f})
	f.db.SetMaxIdleConns(idleConns)
	if err := f.createState(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open session file %s: %w", path, corrupt(err)), f.Close())
	}
	return f, nil
}

// dsn names the file and the settings of each connection. Recursive triggers
// are on because SQLite otherwise skips the delete triggers of rows that a
// REPLACE removes.
func dsn(abs string) string {
	query := url.Values{
		"_txlock": {"immediate"},
		"_pragma": {
			fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()),
			"journal_mode(WAL)",
			"synchronous(NORMAL)",
			"foreign_keys(1)",
			"recursive_triggers(1)",
			"cache_size(-128)", // KiB, a connection
		},
	}
	u := url.URL{Scheme: "file", Path: abs, RawQuery: query.Encode()}
	return u.String()
}

// prepare creates the file with its mode before SQLite does; the -wal and -shm
// files take theirs from it. An existing file is never opened here: closing it
// would drop the POSIX locks of every SQLite connection this process has on it.
func prepare(abs string) error {
	info, err := os.Lstat(abs)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return writeNew(abs, nil)
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a regular file", abs)
	case info.Mode().Perm() != 0o600:
		return os.Chmod(abs, 0o600)
	}
	return nil
}

// writeNew writes a file (0600) that must not be there yet, and its folder (0700).
func writeNew(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	return errors.Join(err, file.Close())
}

// DB returns the handle that whatsmeow's store and the inbox use. Its dialect
// is "sqlite".
func (f *File) DB() *sql.DB { return f.db }

// Path returns the path given to Open.
func (f *File) Path() string { return f.path }

// Close closes the file. It is the barrier of W5: transactions that are still
// running can't commit any more, and Close waits for them to end. Nothing is
// committed through this File after it has returned, also when it returns an
// error because one did not end in time.
func (f *File) Close() error {
	f.entering.Lock()
	f.closing.Store(true)
	f.entering.Unlock()
	err := f.db.Close()
	done := make(chan struct{})
	go func() {
		f.conns.Wait()
		close(done)
	}()
	timeout := time.NewTimer(f.closeWait)
	defer timeout.Stop()
	select {
	case <-done:
	case <-timeout.C:
		err = errors.Join(err, fmt.Errorf("%d connections still in use", f.db.Stats().OpenConnections))
	}
	if err != nil {
		return fmt.Errorf("close session file %s: %w", f.path, err)
	}
	return nil
}

// corrupt adds ErrCorrupt to what SQLite says about a file that is none, or a
// damaged one.
func corrupt(err error) error {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
	}
	return err
}
