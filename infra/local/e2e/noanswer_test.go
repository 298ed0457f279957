package e2e

import (
	"io"
	"strings"
	"testing"
)

// The connector dies while `connector send` waits: the command says that nobody knows,
// and what to do.
func TestSendThatGetsNoAnswer(t *testing.T) {
	s := newScene(t)
	c := s.paired("c")
	s.talk(c)
	s.waitPushed(c)
	for advice, key := range map[string][]string{
		"repeat the command with the same --key": {"--key", "order 17"},
		"sent again it may be shown twice":       nil,
	} {
		device := s.device()
		acks := world.WhatsApp.Faults().LoseAcks(&device)
		cmd := c.Command(s.ctx, append([]string{"send", s.session, s.peer.PN().String(), advice}, key...)...)
		var errOut strings.Builder
		cmd.Stdout, cmd.Stderr = io.Discard, &errOut
		s.must(cmd.Start())
		s.wait("the message to reach the service", func() bool { return acks.Hits() > 0 })
		s.must(c.Kill9())
		err := cmd.Wait()
		acks.Remove()
		if out := errOut.String(); err == nil || !strings.Contains(out, advice) || !strings.Contains(out, "nobody knows whether") {
			t.Errorf("connector send ended with %v: %s", err, out)
		}
		c = s.connectorIn(c.ID(), c.DataDir())
		s.must(c.WaitState(s.ctx, s.session, "connected"))
	}
	s.nothingLost(c)
}
