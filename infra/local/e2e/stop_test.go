package e2e

import (
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"cloudsession/infra/local/faultproxy"
)

// SIGTERM while TiDB hangs: the connector gives up after STOP_SECONDS and ends by
// itself, with an error. What it could not push is still in the session's file, and
// the next start goes on with that.
func TestStopWhileDatabaseHangs(t *testing.T) {
	for name, fault := range map[string]faultproxy.Fault{
		"half open": {Swallow: faultproxy.Both},
		"late":      {Hold: faultproxy.Both},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.ownDatabase() // nobody takes the session over meanwhile
			db, env := s.faultyDatabase()
			c := s.paired("c", append(env, defaultStop)...)
			s.talk(c)
			s.waitPushed(c)
			db.Set(fault)
			s.talk(c) // committed here, in TiDB not
			if mine := s.mine(c); !mine.Pending || mine.State != "connected" {
				t.Fatalf("%+v: want a connected session with changes waiting", mine)
			}
			s.endsUnclean(c)
			db.Set(faultproxy.Fault{})

			again := s.connectorIn(c.ID(), c.DataDir(), env...)
			s.must(again.WaitState(s.ctx, s.session, "connected"))
			if mine := s.mine(again); mine.Start != "own-file" {
				t.Errorf("after the stop: %+v, want a start from the own file", mine)
			}
			s.talk(again)
			s.waitPushed(again)
			s.nothingLost(again)
			s.whole(again)
		})
	}
}

// defaultStop gives a connector the time to stop that it has by default.
const defaultStop = "STOP_SECONDS="

// endsUnclean terminates a connector that can't close its sessions, and waits until
// it has ended by itself, as systemd is to see it: as a failure.
func (s *scene) endsUnclean(c *rigConnector) {
	s.t.Helper()
	// STOP_SECONDS is 10. That it ends is what counts; a test that waits for less
	// than a minute can't have been given the 120 s of the others.
	began := time.Now()
	err := c.Stop(stopTime)
	took := time.Since(began)
	_ = c.Kill9() // it has ended: only so that nobody stops it again
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 {
		s.t.Fatalf("the connector ended with %v, want exit status 1", err)
	}
	if took >= time.Minute {
		s.t.Errorf("the connector took %v to end, want some 10 s", took)
	}
	if !strings.Contains(c.Logs(), "clean=false") {
		s.t.Error("the connector did not say that its end was not clean")
	}
}
