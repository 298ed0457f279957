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
	replay    *capture.Replay // not yet committed
}

func newBuilder(path string) *builder { return &builder{path: path, tmp: path + ".restoring"} }

// companions are the suffixes of the files that SQLite keeps beside a database.
var companions = []string{"", "-wal", "-shm", "-journal"}

// prepare makes sure that both names are free.
func (b *builder) prepare() error {
	for _, suffix := range companions {
		if _, err := os.Lstat(b.path + suffix); err == nil {
			return fmt.Errorf("%s: %w", b.path+suffix, fs.ErrExist)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return b.remove() // what a crash left
}

// apply replays a push. The first one is a base: package sessionlog reads no log that begins otherwise.
func (b *builder) apply(ctx context.Context, p sessionlog.Push) (err error) {
	if b.file == nil {
		if b.file, err = capture.Create(ctx, b.tmp, p, capture.Options{}); err != nil {
			return err
		}
		if b.replay, err = b.file.Replay(ctx); err != nil {
			return err
		}
	}
	return b.replay.Apply(ctx, p)
}

// finish checks the file, closes it, and moves it to its path.
func (b *builder) finish(ctx context.Context) error {
	if b.replay == nil {
		return errors.New("the log holds no push")
	}
	replay := b.replay
	b.replay = nil
	if err := replay.Commit(ctx); err != nil {
		return err
	}
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
	if b.replay != nil {
		_ = b.replay.Rollback()
		b.replay = nil
	}
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
