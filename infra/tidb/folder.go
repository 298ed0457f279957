package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// temporaryPrefix is how the storage engine recognises a folder that need not
// survive: it then keeps its tables in memory (unistore.New in TiDB's source).
const temporaryPrefix = "tidb-unistore-temp"

// openFolder creates and locks the data folder, or makes a temporary one where
// dir is empty. release gives it back and removes a temporary one.
func openFolder(dir string) (folder string, release func(), err error) {
	if dir == "" {
		if dir, err = os.MkdirTemp("", temporaryPrefix); err != nil {
			return "", nil, fmt.Errorf("create temporary folder: %w", err)
		}
		return dir, func() { _ = os.RemoveAll(dir) }, nil
	}
	release, err = lockFolder(dir)
	return dir, release, err
}

// lockFolder creates dir and takes its lock file: two engines on one folder
// would destroy each other's data. The lock goes with the process.
func lockFolder(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create data folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "LOCK.tidb"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock file: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = errors.New("in use by another engine")
		}
		return nil, errors.Join(fmt.Errorf("lock data folder %s: %w", dir, err), f.Close())
	}
	return func() { _ = f.Close() }, nil // nothing was written to it
}
