package e2e

import (
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"cloudsession/connector/control"
)

// A connector is cut from TiDB, acknowledges on disk alone, and loses the session.
// Without a webhook nothing brings those messages to anybody: it says that it has
// them, and shows them, as long as they are remembered.
func TestMessagesOfWhatOnlyALostFileHolds(t *testing.T) {
	s := newScene(t)
	link, env := s.databaseLink()
	old := s.paired("old", env...)
	s.talk(old)
	s.waitPushed(old)
	link.cut()
	only := s.writes(s.peer, "peer", 1, 3)
	_, err := old.WaitText(s.ctx, s.session, only[2])
	s.must(err)
	s.waitAcknowledged()
	s.must(old.Freeze())

	fresh := s.connector("fresh")
	s.restore()
	s.must(fresh.WaitState(s.ctx, s.session, "connected", "restored safely"))
	s.must(fresh.Messages(s.ctx, s.session, 0, false, func(m control.Message) error {
		if slices.Contains(only, m.Text) {
			t.Errorf("the new owner has %s, so this test shows nothing", m.ID)
		}
		return nil
	}))
	link.mend()
	s.must(old.Thaw())
	s.endsItself(old)

	again := s.connectorIn(old.ID(), old.DataDir(), env...)
	s.cli(again, 1, "connector "+fresh.ID()+" holds it; 3 messages are only in files of this machine", "messages", s.session)
	if texts := s.lost(again); !slices.Equal(texts, only) {
		t.Errorf("only that file has %q, want %q", texts, only)
	}
	// Back on that machine the session goes on with what the cloud has.
	s.must(fresh.Stop(stopTime))
	_, err = again.Open(s.ctx, s.session)
	s.must(err)
	s.talk(again)
	if texts := s.lost(again); !slices.Equal(texts, only) {
		t.Errorf("set aside, the file shows %q, want %q", texts, only)
	}
}

// lost is what `messages --lost` prints, without what stands before the texts.
func (s *scene) lost(c *rigConnector) (texts []string) {
	s.t.Helper()
	out, err := c.Command(s.ctx, "messages", s.session, "--lost").Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		s.t.Fatalf("connector messages --lost: %v\n%s", err, exit.Stderr)
	}
	s.must(err)
	for line := range strings.Lines(string(out)) {
		fields := strings.Split(strings.TrimSpace(line), "\t")
		texts = append(texts, strings.Trim(fields[len(fields)-1], `"`))
	}
	return texts
}
