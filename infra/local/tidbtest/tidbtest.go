// Package tidbtest gives tests the real TiDB engine: one process for each test
// binary, on a free port, its data in a temporary folder, and a new, empty
// database for each Start. Use it so:
//
//	func TestMain(m *testing.M) { tidbtest.Main(m) }
//
//	func TestSomething(t *testing.T) {
//		store, err := cloudstore.Open(tidbtest.Start(t))
//		…
//		err = store.Migrate(t.Context())
//	}
package tidbtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"cloudsession/infra/local/tidbproc"
	"cloudsession/shared/cloudstore"
)

// startTimeout leaves room for the first build of the engine.
const startTimeout = 20 * time.Minute

var engine struct {
	mu        sync.Mutex
	proc      *tidbproc.Proc
	err       error
	databases int
}

// Start returns the settings of a new, empty database, not migrated. The
// engine is built and started when first needed.
func Start(t testing.TB) cloudstore.Config {
	t.Helper()
	database := fmt.Sprintf("test_%d", number())
	config, err := Proc(t).CreateDatabase(t.Context(), database, database, rand.Text())
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// Proc returns the engine's process, for tests that put something in front of
// it. Don't stop it: it is everybody's.
func Proc(t testing.TB) *tidbproc.Proc {
	t.Helper()
	engine.mu.Lock()
	defer engine.mu.Unlock()
	if engine.proc == nil && engine.err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
		defer cancel()
		engine.proc, engine.err = tidbproc.Start(ctx, "", "127.0.0.1:0")
	}
	if engine.err != nil {
		t.Fatal(engine.err)
	}
	return engine.proc
}

func number() int {
	engine.mu.Lock()
	defer engine.mu.Unlock()
	engine.databases++
	return engine.databases
}

// Main runs the package's tests, stops the engine and exits the process. Call
// it as the last thing in TestMain; check is called after the engine has
// stopped if all tests passed, for goleak.Find and the like, and may be absent.
func Main(m *testing.M, check ...func() error) {
	code := m.Run()
	if err := Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	for _, f := range check {
		if code != 0 {
			break
		}
		if err := f(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// Stop ends the engine, for a TestMain that has more to do than Main does.
func Stop() error {
	engine.mu.Lock()
	defer engine.mu.Unlock()
	if engine.proc == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	err := engine.proc.Stop(ctx)
	engine.proc = nil
	return err
}
