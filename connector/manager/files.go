package manager

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cloudsession/connector/ownership"
)

// sessionFiles is one session's folder in the data directory:
//
//	sessions/<hex of the first 16 bytes of SHA-256(session id)>/
//	  current.json    which file is adopted, and for which epoch
//	  highwater.json  how far this machine has seen the log
//	  <epoch>.db      the session file of that term (with -wal and -shm)
//	  aside/          files of terms that are over
//
// A session id is never used as a file name: it may hold slashes, dots, or
// more bytes than a name can have.
type sessionFiles struct {
	dir       string
	sessionID string
}

// errDamaged: current.json is there and says nothing usable.
var errDamaged = errors.New("current.json is damaged")

// current names the adopted session file.
type current struct {
	SessionID string `json:"session_id"`
	Epoch     uint64 `json:"epoch"`
	File      string `json:"file"`
}

// keptAside is how many files of ended terms stay. Older ones do as long as they
// hold messages that nobody else has (see leftover).
const keptAside = 3

func filesOf(dataDir, sessionID string) sessionFiles {
	sum := sha256.Sum256([]byte(sessionID))
	return sessionFiles{dir: filepath.Join(dataDir, "sessions", hex.EncodeToString(sum[:16])), sessionID: sessionID}
}

func (s sessionFiles) create() error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("create session folder: %w", err)
	}
	return nil
}

// errNoRoom: the disk takes no more.
var errNoRoom = errors.New("this connector can't write to its DATA_DIR")

// probeSize is more than the first writes of a term in a file that is there already.
const probeSize = 64 << 10

// probe finds out that nothing can be written, above all on a full disk, before a
// session is taken: each term that ends before it began leaves the next start less to
// go on from, and it is tried again and again.
func (s sessionFiles) probe() error {
	path := filepath.Join(s.dir, "probe")
	err := os.WriteFile(path, make([]byte, probeSize), 0o600)
	if err = errors.Join(err, discard(path)); err != nil {
		return fmt.Errorf("%w: %w", errNoRoom, err)
	}
	return nil
}

func (s sessionFiles) highWaterPath() string { return filepath.Join(s.dir, "highwater.json") }

// newPath is where the file of a term is built: a name of its own per epoch, so
// that no left-over -wal of another term can mix into it (L3).
func (s sessionFiles) newPath(epoch uint64) string {
	return filepath.Join(s.dir, fmt.Sprintf("%d.db", epoch))
}

// adopted returns the adopted file's path; ok is false if none is adopted or
// the adopted one is gone.
func (s sessionFiles) adopted() (path string, ok bool, err error) {
	data, err := os.ReadFile(filepath.Join(s.dir, "current.json"))
	if errors.Is(err, os.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("read current session file: %w", err)
	}
	var c current
	if err := json.Unmarshal(data, &c); err != nil {
		return "", false, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if c.SessionID != s.sessionID {
		return "", false, fmt.Errorf("%w: it names another session", errDamaged)
	}
	path = filepath.Join(s.dir, filepath.Base(c.File))
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return "", false, nil
	} else if err != nil {
		return "", false, fmt.Errorf("look for session file: %w", err)
	}
	return path, true, nil
}

// adopt makes the file at newPath(epoch) the session's file and sets every
// other one aside.
func (s sessionFiles) adopt(path string, epoch uint64) error {
	data, err := json.Marshal(current{SessionID: s.sessionID, Epoch: epoch, File: filepath.Base(path)})
	if err != nil {
		return fmt.Errorf("encode current.json: %w", err)
	}
	if err := ownership.WriteFile(filepath.Join(s.dir, "current.json"), data); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(s.dir, "tainted")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("clear mark of session folder: %w", err)
	}
	return s.setAsideOthers(filepath.Base(path))
}

// taint marks the adopted file's Signal state as stale: a clone has moved on from
// it. The mark outlives the process; adopting a file that was made safe ends it.
func (s sessionFiles) taint() error {
	return ownership.WriteFile(filepath.Join(s.dir, "tainted"), nil)
}

func (s sessionFiles) tainted() (bool, error) {
	_, err := os.Stat(filepath.Join(s.dir, "tainted"))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at session folder: %w", err)
	}
	return true, nil
}

// setAside moves every session file of the folder away, so that none is opened
// again as this session's state.
func (s sessionFiles) setAside() error {
	if err := os.Remove(filepath.Join(s.dir, "current.json")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("forget current session file: %w", err)
	}
	return s.setAsideOthers("")
}

func (s sessionFiles) setAsideOthers(keep string) error {
	files, err := filepath.Glob(filepath.Join(s.dir, termFiles))
	if err != nil {
		return fmt.Errorf("list session files: %w", err)
	}
	aside := filepath.Join(s.dir, "aside")
	for _, f := range files {
		if filepath.Base(f) == keep {
			continue
		}
		if err := os.MkdirAll(aside, 0o700); err != nil {
			return fmt.Errorf("create folder: %w", err)
		}
		// The file last: what it lacks without its -wal is lost if a process that dies
		// in between leaves the -wal behind, for only files are looked for.
		for _, suffix := range []string{"-wal", "-shm", ""} {
			err := os.Rename(f+suffix, filepath.Join(aside, filepath.Base(f)+suffix))
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("set session file aside: %w", err)
			}
		}
	}
	return pruneAside(aside)
}

// byEpoch sorts files of one folder that are named after epochs, newest first: the
// longer number is the larger one.
func byEpoch(files []string) {
	slices.SortFunc(files, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(b, a)
	})
}

func pruneAside(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.db"))
	if err != nil || len(files) <= keptAside {
		return err
	}
	byEpoch(files)
	for _, f := range files[keptAside:] {
		if holdsMessages(f) {
			continue
		}
		for _, suffix := range []string{"", "-wal", "-shm"} {
			if err := os.Remove(f + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("remove old session file: %w", err)
			}
		}
	}
	return nil
}

// sessionOf is the session whose file is adopted in a folder, and the file's
// name; "" if none is.
func sessionOf(dir string) (sessionID, name string, err error) {
	data, err := os.ReadFile(filepath.Join(dir, "current.json"))
	if errors.Is(err, os.ErrNotExist) {
		return "", "", nil
	}
	if err != nil {
		return "", "", fmt.Errorf("read current session file: %w", err)
	}
	var c current
	if json.Unmarshal(data, &c) != nil {
		return "", "", nil // whoever opens the session says so
	}
	return c.SessionID, filepath.Base(c.File), nil
}

// discard removes a file that was being built and never adopted.
func discard(path string) error {
	var errs []error
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
