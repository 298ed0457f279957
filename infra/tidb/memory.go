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

// saveMemory turns off the engine's own tuning of the garbage collector, which
// reckons with a machine of its own, and sets ours.
func saveMemory(store kv.Storage) error {
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
	} {
		if _, err := se.Execute(context.Background(), statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	debug.SetGCPercent(gcPercent)
	debug.SetMemoryLimit(memoryGoal)
	return nil
}
