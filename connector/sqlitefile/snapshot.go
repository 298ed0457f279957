package sqlitefile

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"go.mau.fi/whatsmeow/store/sqlstore"
	"go.mau.fi/whatsmeow/store/sqlstore/upgrades"
	"golang.org/x/sys/unix"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// snapshot is a private copy of a file, brought up to whatsmeow's present schema.
type snapshot struct {
	dir     string
	path    string
	db      *sql.DB
	version int // of the original's schema
}

// take copies the file at path and opens the copy. Its errors are one sentence
// about the file, of the kinds named above.
func take(ctx context.Context, path string) (*snapshot, error) {
	dir, err := os.MkdirTemp("", "cloudsession-sqlite-") // 0700
	if err != nil {
		return nil, err
	}
	s := &snapshot{dir: dir, path: filepath.Join(dir, "copy.db")}
	if err := s.fill(ctx, path); err != nil {
		return nil, errors.Join(sentence(path, damaged(err)), s.close())
	}
	return s, nil
}

func (s *snapshot) fill(ctx context.Context, path string) (err error) {
	if err := copyAll(path, s.path); err != nil {
		return err
	}
	if s.db, err = sql.Open("sqlite", dsn(s.path)); err != nil {
		return err
	}
	s.db.SetMaxOpenConns(1)
	if err := s.check(ctx); err != nil {
		return err
	}
	if err := sqlstore.NewWithDB(s.db, "sqlite3", nil).Upgrade(ctx); err != nil {
		return fmt.Errorf("bring schema %d up to date: %w", s.version, err)
	}
	return nil
}

func dsn(path string) string {
	query := url.Values{"_txlock": {"immediate"}, "_pragma": {"foreign_keys(1)", "busy_timeout(10000)"}}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: query.Encode()}).String()
}

func (s *snapshot) close() error {
	var err error
	if s.db != nil {
		err = s.db.Close()
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// check looks at the copy before anything is written to it: that it is intact,
// whatsmeow's, and not newer than we are.
func (s *snapshot) check(ctx context.Context) error {
	var verdict string
	if err := s.db.QueryRowContext(ctx, "PRAGMA integrity_check(1)").Scan(&verdict); err != nil {
		return err
	}
	if verdict != "ok" {
		return ErrNotSQLite
	}
	var count int
	err := s.db.QueryRowContext(ctx, `SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name IN ('whatsmeow_version', 'whatsmeow_device')`).Scan(&count)
	if err != nil {
		return err
	}
	if count != 2 {
		return ErrNotWhatsmeow
	}
	err = s.db.QueryRowContext(ctx, `SELECT version FROM whatsmeow_version LIMIT 1`).Scan(&s.version)
	switch latest := len(upgrades.Table); {
	case errors.Is(err, sql.ErrNoRows):
		return ErrNotWhatsmeow
	case err != nil:
		return err
	case s.version > latest:
		return fmt.Errorf("%w: its schema has version %d, this program knows up to %d", ErrNewer, s.version, latest)
	}
	return nil
}

// damaged adds ErrNotSQLite to what SQLite says about a file that is none.
func damaged(err error) error {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
			return fmt.Errorf("%w: %w", ErrNotSQLite, err)
		}
	}
	return err
}

// copyAll copies a database with the journal beside it: what a WAL or a rollback
// journal holds is part of it. The -shm file is only an index into the WAL.
func copyAll(from, to string) error {
	before, err := state(from)
	if err != nil {
		return err
	}
	for _, suffix := range suffixes {
		if err := copyFile(from+suffix, to+suffix); err != nil {
			if suffix != "" && errors.Is(err, fs.ErrNotExist) {
				continue
			}
			return err
		}
	}
	after, err := state(from)
	if err != nil {
		return err
	}
	if before != after {
		return fmt.Errorf("%w: it changed while it was copied; stop the program that uses it", ErrInUse)
	}
	return nil
}

var suffixes = [...]string{"", "-wal", "-journal"}

// state is what tells whether the files were changed.
func state(path string) (all [len(suffixes)]struct{ size, time int64 }, err error) {
	for i, suffix := range suffixes {
		info, err := os.Stat(path + suffix)
		switch {
		case errors.Is(err, fs.ErrNotExist) && i > 0:
			continue
		case err != nil:
			return all, err
		case !info.Mode().IsRegular():
			return all, fmt.Errorf("%w: not a regular file", ErrNotSQLite)
		}
		all[i].size, all[i].time = info.Size(), info.ModTime().UnixNano()
	}
	return all, nil
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	// Closing drops the POSIX locks of this process on the file, so it must not be
	// open here by SQLite; other processes' locks aren't touched.
	defer func() { err = errors.Join(err, in.Close()) }()
	if err := unlocked(in); err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// The bytes that SQLite locks in a database file (its os.h, PENDING_BYTE to
// SHARED_FIRST + SHARED_SIZE). A connection in WAL mode holds one as long as it is
// open.
const (
	lockFirst = 0x40000000
	lockBytes = 512
)

// unlocked returns ErrInUse if another process holds a lock of SQLite's. It takes
// none itself.
func unlocked(f *os.File) error {
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: lockFirst, Len: lockBytes}
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lock); err != nil {
		return fmt.Errorf("look for locks: %w", err)
	}
	if lock.Type != unix.F_UNLCK {
		return fmt.Errorf("%w by process %d; stop it first", ErrInUse, lock.Pid)
	}
	return nil
}
