package e2e

import (
	"os"
	"strings"
	"syscall"
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

// A process that waits for its place, which another one of its name has, ends cleanly
// when it is stopped, and takes nothing from that one.
func TestStopWhileItsPlaceIsWaitedFor(t *testing.T) {
	s := newScene(t)
	c := s.paired("twin")
	s.talk(c)
	second := c.Command(s.ctx, "run")
	second.Env = append(second.Env, "DATA_DIR="+t.TempDir())
	log := &lockedBuffer{}
	second.Stderr = log
	s.must(second.Start())
	s.wait("the second process to say what it waits for", func() bool {
		return strings.Contains(log.String(), "waiting for this connector's place")
	})
	s.must(second.Process.Signal(syscall.SIGTERM))
	if err := second.Wait(); err != nil || !strings.Contains(log.String(), "connector has stopped") {
		t.Errorf("it ended with %v, want exit status 0 and a line that it has stopped:\n%s", err, log)
	}
	s.talk(c)
	s.nothingLost(c)
}
