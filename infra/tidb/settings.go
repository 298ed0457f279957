package main

import (
	"context"
	"fmt"
	"runtime/debug"

	"github.com/pingcap/tidb/pkg/kv"
	"github.com/pingcap/tidb/pkg/session"
)

// The engine shares a machine with what it serves, and would by itself rather
// keep memory than give it back: collect earlier, and harder above the goal.
const (
	gcPercent  = 50
	memoryGoal = 384 << 20
)

// settle turns off the engine's own tuning of the garbage collector, which
// reckons with a machine of its own, and sets ours; and what else the engine is
// better off with where it serves tests.
func settle(store kv.Storage) error {
	se, err := session.CreateSession(store)
	if err != nil {
		return fmt.Errorf("open a session: %w", err)
	}
	defer se.Close()
	for _, statement := range []string{
		"SET GLOBAL tidb_enable_gogc_tuner = OFF",
		"SET GLOBAL tidb_server_memory_limit = 0",
		"SET GLOBAL tidb_enable_stmt_summary = OFF",
		"SET GLOBAL tidb_enable_auto_analyze = OFF",
		// The privileges are read anew by the user, not all of them after each grant
		// and every five minutes: of two readings, the older may be the last one kept.
		"SET GLOBAL tidb_accelerate_user_creation_update = ON",
	} {
		if _, err := se.Execute(context.Background(), statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	debug.SetGCPercent(gcPercent)
	debug.SetMemoryLimit(memoryGoal)
	return nil
}
