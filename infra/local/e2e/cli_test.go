package e2e

import (
	"bufio"
	"encoding/json"
	"io"
	"regexp"
	"strings"
	"testing"

	"cloudsession/connector/control"
	"cloudsession/connector/watest"
)

// The command line, as a person uses it beside a running connector.

// pairing runs `connector pair --json` and calls each for every event.
func (s *scene) pairing(c *rigConnector, each func(control.PairEvent), args ...string) error {
	s.t.Helper()
	out, wait := s.terminal(c, append([]string{"--json"}, args...)...)
	d := json.NewDecoder(out)
	for {
		var e control.PairEvent
		if err := d.Decode(&e); err != nil {
			break
		}
		each(e)
	}
	_, err := io.Copy(io.Discard, out)
	s.must(err)
	return wait()
}

func TestPairByCodeOnTheCommandLine(t *testing.T) {
	s := newScene(t)
	c := s.connector("c")
	var kinds []string
	s.must(s.pairing(c, func(e control.PairEvent) {
		kinds = append(kinds, e.Kind)
		if e.Kind == "code" {
			_, err := s.owner.EnterCode(s.ctx, e.Code)
			s.must(err)
		}
	}, "--code", "+"+s.owner.PN().User))
	if got := strings.Join(kinds, " "); got != "code paired" {
		t.Errorf("events %q, want a code and then paired", got)
	}
	s.talk(c)

	// A second pairing of the same session makes no new identity.
	if err := s.pairing(c, func(control.PairEvent) {}); err == nil {
		t.Error("a linked session was paired again")
	}
	s.nothingLost(c)
}

// An account protected by a passkey can't be linked here: the text says so, and
// the session is as new afterwards.
func TestPasskeyIsRefusedWithAReason(t *testing.T) {
	s := newScene(t)
	s.owner.RequirePasskey(true)
	c := s.connector("c")
	var last control.PairEvent
	err := s.pairing(c, func(e control.PairEvent) {
		last = e
		if e.Kind == "qr" {
			if _, err := s.owner.ScanQR(s.ctx, e.QR); err == nil {
				t.Error("the phone linked without its passkey")
			}
		}
	})
	if err == nil || last.Kind != "failed" || !strings.Contains(last.Error, "passkey") {
		t.Errorf("pairing ended with %+v, %v; want a refusal that names the passkey", last, err)
	}
	if strings.Contains(c.Logs(), "wa.me/settings") {
		t.Error("a QR text is in the log")
	}
}

func TestSendMessagesSessionsAndInspect(t *testing.T) {
	s := newScene(t)
	c := s.paired("c")
	run := func(args ...string) string {
		t.Helper()
		out, err := c.Command(s.ctx, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("connector %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	if out := run("send", s.session, "+"+s.peer.PN().User, "typed by hand"); !regexp.MustCompile(`^sent \w+ at 20`).MatchString(out) {
		t.Errorf("send said %q", out)
	}
	_, err := s.peer.WaitText(s.ctx, "typed by hand")
	s.must(err)

	// messages --follow shows what comes, as it comes.
	follow := c.Command(s.ctx, "messages", s.session, "--follow")
	out, err := follow.StdoutPipe()
	s.must(err)
	s.must(follow.Start())
	text := s.peerWrites()
	line, err := bufio.NewReader(out).ReadString('\n')
	s.must(err)
	if !strings.Contains(line, text) {
		t.Errorf("messages --follow printed %q, want %q in it", line, text)
	}
	s.must(follow.Process.Kill())
	_ = follow.Wait() // killed: its exit says only that

	s.waitPushed(c)
	if out := run("sessions"); !strings.Contains(out, s.session) || !strings.Contains(out, "connected") {
		t.Errorf("sessions printed\n%s", out)
	}
	if out := run("inspect", "list", s.session); !strings.Contains(out, "base") || !strings.Contains(out, "delta") {
		t.Errorf("inspect list printed\n%s", out)
	}
	if out := run("inspect", "verify", s.session); !strings.Contains(out, "whole") {
		t.Errorf("inspect verify printed\n%s", out)
	}
	dump := run("inspect", "dump", s.session)
	if !strings.Contains(dump, "whatsmeow_device") {
		t.Errorf("inspect dump shows no device:\n%s", dump)
	}
	if strings.Contains(dump, text) || strings.Contains(dump, "typed by hand") {
		t.Error("inspect dump shows message texts")
	}
	if out := run("migrate"); !strings.Contains(out, "up to date") {
		t.Errorf("migrate printed %q", out)
	}
	if out, err := c.Command(s.ctx, "inspect", "verify", "nobody").CombinedOutput(); err == nil || !strings.Contains(string(out), "no such session") {
		t.Errorf("inspect of an unknown session: %v, %s", err, out)
	}
	if out, err := c.Command(s.ctx, "send", s.session, "not a number", "x").CombinedOutput(); err == nil || !strings.Contains(string(out), "address") {
		t.Errorf("send to nonsense: %v, %s", err, out)
	}
}

func envOf(c *rigConnector, name string) string {
	for _, kv := range c.Env() {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			return v
		}
	}
	return ""
}

// A group: the session is a member, texts go both ways.
func TestGroup(t *testing.T) {
	s := newScene(t)
	c := s.paired("c")
	group, err := s.peer.CreateGroup(s.ctx, s.owner.PN())
	s.must(err)
	_, err = s.peer.SendText(s.ctx, group, "to all of you")
	s.must(err)
	m, err := c.WaitText(s.ctx, s.session, "to all of you")
	s.must(err)
	if m.Chat != group.String() {
		t.Errorf("the message came in chat %s, want %s", m.Chat, group)
	}
	_, err = c.Send(s.ctx, s.session, control.SendRequest{To: group.String(), Text: "to the group"})
	s.must(err)
	for _, p := range []*watest.Phone{s.peer, s.owner} {
		_, err = p.WaitText(s.ctx, "to the group")
		s.must(err)
	}
	s.nothingLost(c)
}
