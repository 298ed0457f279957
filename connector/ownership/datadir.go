package ownership

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrDirInUse is returned by OpenDir when another process holds the directory.
var ErrDirInUse = errors.New("data directory is in use by another connector")

const incarnationFile = "incarnation"

// Dir is a connector's data directory, locked for as long as it is open.
type Dir struct {
	path string
	lock *os.File
}

// OpenDir creates path (mode 0700) if need be and locks it against a second
// process. It returns ErrDirInUse when the lock is taken.
func OpenDir(path string) (*Dir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("resolve data directory: %w", err)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("create data directory: %w", err)
	}
	// An existing directory may be more open than what it will hold allows.
	if err := os.Chmod(path, 0o700); err != nil { //nolint:gosec // a directory needs its x bit
		return nil, fmt.Errorf("close data directory to others: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(path, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock file: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		closeErr := lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w", path, ErrDirInUse)
		}
		return nil, errors.Join(fmt.Errorf("lock data directory: %w", err), closeErr)
	}
	return &Dir{path: path, lock: lock}, nil
}

// Path is the directory's absolute path.
func (d *Dir) Path() string { return d.path }

// Close releases the lock.
func (d *Dir) Close() error { return d.lock.Close() }

// incarnations returns the incarnations this directory may stand for in TiDB,
// newest first. There are two after a crash between writing the new one here
// and swapping it in there.
func (d *Dir) incarnations() ([]string, error) {
	data, err := os.ReadFile(filepath.Join(d.path, incarnationFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read incarnation: %w", err)
	}
	return strings.Fields(string(data)), nil
}

// setIncarnations replaces the remembered incarnations, durably: the file is
// what lets the next process prove that it follows this one.
func (d *Dir) setIncarnations(list ...string) error {
	var b bytes.Buffer
	for _, s := range list {
		fmt.Fprintln(&b, s)
	}
	return WriteFile(filepath.Join(d.path, incarnationFile), b.Bytes())
}

// WriteFile replaces path by data, mode 0600, so that a crash at any moment
// leaves either the old content or the new: a temporary file is written,
// synced and renamed, and the directory synced after it.
func WriteFile(path string, data []byte) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("create temporary file: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, removeIfThere(tmp.Name()))
		}
	}()
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	if err = os.Rename(tmp.Name(), path); err != nil {
		return fmt.Errorf("replace %s: %w", filepath.Base(path), err)
	}
	return syncDir(filepath.Dir(path))
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open directory: %w", err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}
