package main

import (
	"errors"

	"cloudsession/shared/cloudstore"
)

// withStore calls f with the database that cfg names, over maxConns connections
// (0: as many as a running connector). load has checked cfg.
func withStore(cfg Database, maxConns int, f func(*cloudstore.Store) error) (err error) {
	store, err := cfg.open(maxConns)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	return f(store)
}
