package e2e

import (
	"context"
	"testing"
	"time"
)

// With TiDB away a close comes to an end, and says that it didn't succeed. The
// session is opened again when TiDB is back, and has lost nothing.
func TestCloseWithoutDatabase(t *testing.T) {
	s := newScene(t)
	link, env := s.databaseLink()
	c := s.paired("c", env...)
	s.talk(c)
	s.waitPushed(c)
	link.cut()
	s.says(c)
	ctx, cancel := context.WithTimeout(s.ctx, 20*time.Second)
	defer cancel()
	began := time.Now()
	if err := c.Close(ctx, s.session); err == nil || ctx.Err() != nil {
		t.Errorf("close without TiDB: %v after %v, want an error in time", err, time.Since(began))
	}
	link.mend()
	s.must(c.WaitState(s.ctx, s.session, "connected", "restored safely"))
	s.talk(c)
	s.nothingLost(c)
}
