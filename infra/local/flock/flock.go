// Package flock keeps processes apart with locks on files, which end with the
// process that holds them.
package flock

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// ErrHeld says that another process holds the lock.
var ErrHeld = errors.New("held by another process")

// Lock is a lock that this process holds.
type Lock struct{ f *os.File }

// Try takes the lock on file, which is made when missing. When another process
// holds it, the error is ErrHeld and holder is what that one noted.
func Try(file string) (l *Lock, holder string, err error) {
	f, err := open(file)
	if err != nil {
		return nil, "", err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return &Lock{f}, "", nil
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = ErrHeld
	}
	note, _ := io.ReadAll(io.LimitReader(f, 1<<10)) // a courtesy; the lock counts
	return nil, string(note), errors.Join(fmt.Errorf("lock %s: %w", file, err), f.Close())
}

// Wait takes the lock on file, waiting for whoever holds it.
func Wait(file string) (unlock func(), err error) {
	f, err := open(file)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", file, err), f.Close())
	}
	return func() { _ = f.Close() }, nil // closing can't keep the lock
}

func open(file string) (*os.File, error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock file: %w", err)
	}
	return f, nil
}

// Note writes who holds the lock, for those who find it held.
func (l *Lock) Note(text string) error {
	if err := l.f.Truncate(0); err != nil {
		return fmt.Errorf("note holder: %w", err)
	}
	if _, err := l.f.WriteAt([]byte(text), 0); err != nil {
		return fmt.Errorf("note holder: %w", err)
	}
	return nil
}

// Unlock gives the lock up. The file stays: removing it would let two hold "it".
func (l *Lock) Unlock() error { return l.f.Close() }
