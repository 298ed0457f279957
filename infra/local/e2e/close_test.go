package e2e

import "testing"

// With TiDB away a close comes to an end, and says that it didn't succeed. The
// session has kept its socket, and lost nothing.
func TestCloseWithoutDatabase(t *testing.T) {
	s := newScene(t)
	link, env := s.databaseLink()
	c := s.paired("c", env...)
	s.talk(c)
	s.waitPushed(c)
	link.cut()
	s.says(c)
	logins := world.WhatsApp.Device(s.device()).Logins
	if err := c.Close(s.ctx, s.session); err == nil || s.ctx.Err() != nil {
		t.Errorf("close without TiDB: %v, want an error of its own", err)
	}
	link.mend()
	s.talk(c)
	if n := world.WhatsApp.Device(s.device()).Logins; n != logins {
		t.Errorf("logged in %d times more: the socket was given up for a close that didn't succeed", n-logins)
	}
	s.nothingLost(c)
}
