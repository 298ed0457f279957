// Package tidbtest gives tests the real TiDB engine.
package tidbtest

import (
	"testing"

	"cloudsession/shared/cloudstore"
)

// Start returns the settings of a new, empty database, not migrated yet.
func Start(t testing.TB) cloudstore.Config {
	t.Helper()
	t.Fatal("not there yet")
	return cloudstore.Config{}
}

// Main runs the package's tests and stops the engine; call it from TestMain.
func Main(m *testing.M) { m.Run() }
