package e2e

import (
	"os"
	"testing"
)

// The only connector loses its machine. A new one with its name and an empty disk
// finds nobody who could declare the old process dead: it watches the old one's
// lease itself, takes the place, and brings the session back.
func TestO1LoneConnectorOnANewDisk(t *testing.T) {
	s := newScene(t)
	s.ownDatabase()
	c := s.paired("alone")
	s.talk(c)
	s.waitPushed(c)
	s.must(c.Kill9())
	s.must(os.RemoveAll(c.DataDir()))

	again := s.connectorIn(c.ID(), t.TempDir())
	s.startsSafely(again)
	s.nothingLost(again)
}

// The database was restored from a backup that was made when another process of
// this connector ran, and no data directory remembers that one any more.
func TestO1ConnectorsRowFromABackup(t *testing.T) {
	s := newScene(t)
	s.ownDatabase()
	c := s.paired("alone")
	s.talk(c)
	s.waitPushed(c)
	var then string
	s.must(s.database().QueryRowContext(s.ctx, "SELECT incarnation FROM connectors WHERE connector_id = ?", c.ID()).Scan(&then))
	s.must(c.Stop(stopTime))
	c = s.connectorIn(c.ID(), c.DataDir())
	s.must(c.WaitState(s.ctx, s.session, "connected"))
	s.talk(c)
	s.must(c.Stop(stopTime))

	s.update(`UPDATE connectors SET incarnation = ?, dead = FALSE, retired = FALSE,
		lease_until = NOW(6) - INTERVAL 1 HOUR WHERE connector_id = ?`, then, c.ID())
	s.databaseRestored(c)
	again := s.connectorIn(c.ID(), c.DataDir())
	s.startsSafely(again)
	s.nothingLost(again)
}
