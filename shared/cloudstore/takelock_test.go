package cloudstore_test

import (
	"context"
	"testing"
	"time"
)

// A take of a free session locks no row of connectors but the taker's, and no key
// that has none either: the takes of all connectors would queue for it.
func TestTakeOfAFreeSessionLocksItsTakerOnly(t *testing.T) {
	s, config := migrated(t)
	register(t, s, "a", "b")
	tx, err := rawDB(t, config).BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }() // it only locks
	if _, err := tx.ExecContext(t.Context(), "SELECT connector_id FROM connectors WHERE connector_id IN ('b', '') FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if _, err := s.Take(ctx, request("x", "a")); err != nil {
		t.Errorf("take of a new session: %v", err)
	}
	if err := s.Release(ctx, "x", 1, "", 0, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Take(ctx, request("x", "a")); err != nil {
		t.Errorf("take of a released session: %v", err)
	}
}
