package e2e

import (
	"context"
	"errors"
	"io"
	"math"
	"os"
	"strings"
	"sync"
	"testing"

	"cloudsession/connector/control"
	"cloudsession/infra/local/faultproxy"
)

// Use case 2 of the specification, by creating a session: the old server is gone with
// its disk, and who asks the new one for a session of the same id gets the old one
// from the cloud. There is nothing to scan, and the phone has no second device.
func TestCreatingASessionLoadsIt(t *testing.T) {
	s := newScene(t)
	old := s.paired("old")
	s.talk(old)
	s.waitPushed(old)
	// Nobody but who asks for it may take it: else it would often be open already.
	s.exec(s.database(), "UPDATE session_owners SET failover = 'manual' WHERE session_id = ?")
	s.must(old.Kill9())
	s.must(os.RemoveAll(old.DataDir()))
	meantime := s.peerWrites()

	fresh := s.connector("new")
	for !s.loads(fresh) {
		s.pause()
	}
	s.must(fresh.WaitState(s.ctx, s.session, "connected", "restored safely"))
	_, err := fresh.WaitText(s.ctx, s.session, meantime)
	s.must(err)
	s.talk(fresh)
	s.oneDevice()
	s.nothingLost(fresh)
}

// A person at the terminal of an empty connector is told that there is nothing to scan.
func TestLoadedAtTheTerminal(t *testing.T) {
	s := newScene(t)
	first := s.paired("first")
	s.talk(first)
	s.must(first.Close(s.ctx, s.session))

	second := s.connector("second")
	out, wait := s.terminal(second)
	shown, err := io.ReadAll(out)
	s.must(errors.Join(err, wait()))
	if string(shown) != s.session+" was in the cloud and is loaded: nothing to scan\n" {
		t.Errorf("pair showed %q", shown)
	}
	s.talk(second)
	s.oneDevice()
	s.nothingLost(second)
}

// A database that can't be read is no database without the session: a pairing fails,
// and shows no code, which would make a second device of the session. It makes no
// difference whether the database answers the next question.
func TestPairWhenTheDatabaseCannotBeRead(t *testing.T) {
	s := newScene(t)
	fault := &failingReads{}
	env := s.databaseWith(fault.judge)
	first, second := s.connector("first"), s.connector("second", env...)
	for _, read := range []string{
		"", // every one
		"FROM session_owners WHERE",
		"FOR UPDATE", // what the start of a term is judged by
		"FROM whatsapp_sessions WHERE",
		"FROM session_epochs WHERE",
		"FROM session_segments",
		"epoch <= ", // the log, once the term is this connector's
		"seq BETWEEN",
	} {
		for name, times := range map[string]int{"once": 1, "always": math.MaxInt} {
			t.Run(read+" "+name, func(t *testing.T) {
				s := newScene(t)
				s.must(first.Pair(s.ctx, s.session, s.owner))
				s.must(first.Close(s.ctx, s.session))
				fault.begin(s.session, read, times)
				kinds, err := s.creates(second)
				if failed := fault.end(); failed == 0 {
					t.Error("no such read was made")
				}
				// The take would refuse a new identity, too: it is not to get that far.
				if err == nil || len(kinds) > 0 || strings.Contains(err.Error(), "already linked") {
					t.Errorf("pair ended with %v, events %q; want the failed read alone", err, kinds)
				}
				// Nothing stands in the way of the session that is there.
				_, err = second.Open(s.ctx, s.session)
				s.must(err)
				s.must(second.WaitState(s.ctx, s.session, "connected", "restored safely"))
				s.talk(second)
				s.oneDevice()
				s.nothingLost(second)
			})
		}
	}
}

// failingReads cuts the connections of the first statements that read a session.
type failingReads struct {
	mu            sync.Mutex
	session, part string // what they have in their text
	left, failed  int
}

func (f *failingReads) judge(st faultproxy.Statement) faultproxy.Verdict {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left == 0 || !strings.HasPrefix(st.Text, "SELECT") || !strings.Contains(st.Text, f.session) || !strings.Contains(st.Text, f.part) {
		return faultproxy.Verdict{}
	}
	f.left--
	f.failed++
	return faultproxy.Verdict{Action: faultproxy.FailBefore}
}

func (f *failingReads) begin(session, part string, times int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.session, f.part, f.left, f.failed = session, part, times, 0
}

// end returns how many statements have failed.
func (f *failingReads) end() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left = 0
	return f.failed
}

// creates asks a connector for the session as for a new one, with no phone near.
func (s *scene) creates(c *rigConnector) (kinds []string, err error) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	err = c.Client.Pair(ctx, s.session, control.PairRequest{}, func(e control.PairEvent) error {
		kinds = append(kinds, e.Kind)
		if e.Kind == "qr" {
			cancel() // nobody scans it
		}
		return nil
	})
	return kinds, err
}

// loads asks a connector for the session, without a phone: true once it is loaded,
// false while another connector has it. A QR code is the end of the test.
func (s *scene) loads(c *rigConnector) bool {
	s.t.Helper()
	kinds, err := s.creates(c)
	if err != nil && len(kinds) == 0 && strings.Contains(err.Error(), "held by another connector") {
		return false
	}
	if err != nil || strings.Join(kinds, " ") != "loaded" {
		s.t.Fatalf("creating a session that is in the cloud: %v, events %q", err, kinds)
	}
	return true
}

// oneDevice checks that the phone has linked the session and nothing else.
func (s *scene) oneDevice() {
	s.t.Helper()
	if devices := s.owner.Devices(); len(devices) != 1 {
		s.t.Errorf("the phone has %d linked devices, want 1", len(devices))
	}
}
