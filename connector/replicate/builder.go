package replicate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"cloudsession/connector/capture"
	"cloudsession/shared/sessionlog"
)

// builder makes a session file under a name of its own beside its path, and gives it that path when it
// is whole. SQLite pairs a file with its -wal by name, so both names must be free of old ones.
type builder struct {
	path, tmp string
	file      *capture.File
}

func newBuilder(path string) *builder { return &builder{path: path, tmp: path + ".restoring"} }

// companions are the suffixes of the files that SQLite keeps beside a database.
var companions = []string{"", "-wal", "-shm", "-journal"}

func (b *builder) open(ctx context.Context) error {
	for _, suffix := range companions {
		if _, err := os.Lstat(b.path + suffix); err == nil {
			return fmt.Errorf("%s: %w", b.path+suffix, fs.ErrExist)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := b.remove(); err != nil { // what a crash left
		return err
	}
	f, err := capture.Open(ctx, b.tmp, capture.Options{})
	if err != nil {
		return err
	}
	b.file = f
	return nil
}

func (b *builder) apply(ctx context.Context, p sessionlog.Push) error { return b.file.Apply(ctx, p) }

// finish checks the file, closes it, and moves it to its path.
func (b *builder) finish(ctx context.Context) error {
	if err := b.file.Check(ctx); err != nil {
		return err
	}
	f := b.file
	b.file = nil
	if err := f.Close(); err != nil {
		return err
	}
	// The last handle's Close checkpoints and removes the -wal. Were it still there, the file alone
	// would not be the session.
	if _, err := os.Lstat(b.tmp + "-wal"); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(errors.New("restored file was not checkpointed when it was closed"), err)
	}
	if err := syncPath(b.tmp); err != nil {
		return err
	}
	if err := os.Rename(b.tmp, b.path); err != nil {
		return err
	}
	return syncPath(filepath.Dir(b.path))
}

// discard removes what finish did not move. Its errors only leave garbage that the next restore removes.
func (b *builder) discard() {
	if b.file != nil {
		_ = b.file.Close()
		b.file = nil
	}
	_ = b.remove()
}

func (b *builder) remove() error {
	for _, suffix := range companions {
		if err := os.Remove(b.tmp + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// syncPath makes a file, or the names in a folder, survive a loss of power.
func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
