package e2e

import (
	"testing"

	"cloudsession/shared/cloudstore"
)

// A connector that died is stale until it is back, or until its operator says
// that it never will be; one that was stopped in order is not.
func TestForgetAConnector(t *testing.T) {
	s := newScene(t)
	s.ownDatabase()
	stays := s.connector("stays")
	gone := s.connector("gone")
	stops := s.connector("stops")
	store, err := cloudstore.Open(s.storeConfig())
	s.must(err)
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	stale := func(live, stale int) func() bool {
		return func() bool {
			v, err := store.Vitals(s.ctx)
			return err == nil && v.LiveConnectors == live && v.StaleConnectors == stale
		}
	}
	s.wait("three live connectors", stale(3, 0))
	s.must(stops.Stop(stopTime))
	s.wait("the one that was stopped to be none of them", stale(2, 0))
	s.must(gone.Kill9())
	s.wait("the other to be stale", stale(1, 1))
	s.cli(stays, 1, "is live: stop it first", "forget", stays.ID())
	s.cli(stays, 1, `no connector "nobody" has ever run`, "forget", "nobody")
	s.cli(stays, 0, gone.ID()+" is forgotten", "forget", gone.ID())
	s.wait("nobody to be stale", stale(1, 0))

	// Buried meanwhile or not: whoever comes back is watched again.
	back := s.connectorIn(gone.ID(), t.TempDir())
	s.wait("it to be live", stale(2, 0))
	s.must(back.Kill9())
	s.wait("it to be stale again", stale(1, 1))
}
