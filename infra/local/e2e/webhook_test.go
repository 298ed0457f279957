package e2e

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"cloudsession/connector/control"
	"cloudsession/connector/watest"
	"cloudsession/infra/local/rig"
)

func (s *scene) application() *rig.Webhook {
	s.t.Helper()
	w, err := rig.ListenWebhook(s.ctx)
	s.must(err)
	s.t.Cleanup(func() {
		if err := w.Close(); err != nil {
			s.t.Errorf("deliveries: %v", err)
		}
	})
	return w
}

// writes has a phone send numbered texts to the session's owner.
func (s *scene) writes(from *watest.Phone, who string, first, last int) (texts []string) {
	s.t.Helper()
	for n := first; n <= last; n++ {
		text := fmt.Sprintf("%s %s %d", s.session, who, n)
		_, err := from.SendText(s.ctx, s.owner.PN(), text)
		s.must(err)
		texts = append(texts, text)
	}
	return texts
}

// inOrder checks that the texts came in the order in which each phone wrote them.
func (s *scene) inOrder(w *rig.Webhook, whos ...string) {
	s.t.Helper()
	for _, who := range whos {
		next := 1
		for _, m := range w.Messages() {
			n := 0
			if _, err := fmt.Sscanf(strings.TrimPrefix(m.Text, s.session+" "+who+" "), "%d", &n); err != nil || m.SessionID != s.session {
				continue
			}
			if n != next {
				s.t.Errorf("%s: text %d came as number %d", who, n, next)
			}
			next = n + 1
		}
	}
}

// asReceived checks that each chat's messages were first delivered in the order of the connector's inbox, under the
// inbox's keys. After a safe start a message may come in after a later one, since its sender was asked for it again.
func (s *scene) asReceived(w *rig.Webhook, c *rig.Connector) {
	s.t.Helper()
	number := map[string]int64{}
	s.must(c.Messages(s.ctx, s.session, 0, false, func(m control.Message) error {
		number[m.Key] = m.Seq
		return nil
	}))
	last := map[string]int64{}
	for _, m := range w.Messages() {
		n, ok := number[m.Key]
		if !ok {
			s.t.Errorf("message %s was delivered under a key that the inbox doesn't know", m.ID)
		}
		if n < last[m.Chat] {
			s.t.Errorf("message %s of chat %s, number %d, came after number %d", m.ID, m.Chat, n, last[m.Chat])
		}
		last[m.Chat] = n
	}
}

// Messages flow to the application; while it refuses them they wait, and then come in order.
func TestWebhook(t *testing.T) {
	s := newScene(t)
	app := s.application()
	c := s.paired("c", app.Env()...)
	third := s.phone(world.next.Load(), 3)
	texts := append(s.writes(s.peer, "peer", 1, 2), s.writes(third, "third", 1, 2)...)
	s.must(app.WaitTexts(s.ctx, texts...))

	app.Answer(http.StatusInternalServerError)
	texts = append(s.writes(s.peer, "peer", 3, 5), s.writes(third, "third", 3, 5)...)
	before := app.Attempts()
	s.must(app.Wait(s.ctx, func() bool { return app.Attempts() >= before+4 }))
	s.waitLog(c, "webhook doesn't take messages")
	app.Answer(0)
	s.must(app.WaitTexts(s.ctx, texts...))
	s.waitLog(c, "webhook takes messages again")
	s.inOrder(app, "peer", "third")

	// What the account's phone writes is delivered as its own.
	_, err := s.owner.SendText(s.ctx, s.peer.PN(), s.session+" by the owner")
	s.must(err)
	s.must(app.WaitTexts(s.ctx, s.session+" by the owner"))
	for _, m := range app.Messages() {
		if m.FromMe != strings.HasSuffix(m.Text, "by the owner") || m.Kind != "text" || m.ChatPN == "" && m.Chat == "" {
			t.Errorf("delivered: %+v", m)
		}
	}
	for _, hidden := range []string{"t0ken", rig.WebhookSecret, s.session + " peer"} {
		if strings.Contains(c.Logs(), hidden) {
			t.Errorf("the log holds %q", hidden)
		}
	}
	s.nothingLost(c)
}

// The owner dies with undelivered messages and a send whose outcome it never heard, and its disk with it: the next
// owner delivers the messages, each under one key, and the send repeated with its key is one message at the peer. When
// the dead one comes back with its disk, it delivers what only that has (A2), and nothing else of the session.
func TestMessagesAndSendsOverFailover(t *testing.T) {
	s := newScene(t)
	app := s.application()
	link, env := s.databaseLink()
	env = append(env, app.Env()...)
	old := s.paired("old", env...)
	third := s.phone(world.next.Load(), 3)
	texts := append(s.writes(s.peer, "peer", 1, 2), s.writes(third, "third", 1, 2)...)
	s.must(app.WaitTexts(s.ctx, texts...))

	app.Answer(http.StatusServiceUnavailable)
	texts = append(texts, s.writes(s.peer, "peer", 3, 6)...)
	texts = append(texts, s.writes(third, "third", 3, 6)...)
	_, err := old.WaitText(s.ctx, s.session, texts[len(texts)-1])
	s.must(err)
	disk := old.DataDir() + "-kept"
	var only []string
	repeat := s.sendUnheard(old, func() {
		s.waitPushed(old)
		link.cut()
		only = s.writes(third, "only", 1, 2)
		s.waitAcknowledged()
		s.must(old.Kill9())
		s.must(os.Rename(old.DataDir(), disk))
	})
	texts = append(texts, s.writes(s.peer, "peer", 7, 8)...) // meanwhile nobody is there

	app.Answer(0)
	fresh := s.connector("fresh", app.Env()...)
	s.restore()
	s.must(app.WaitTexts(s.ctx, texts...))
	s.asReceived(app, fresh)
	repeat(fresh)

	link.mend()
	again := s.connectorIn(old.ID(), disk, env...)
	s.must(app.WaitTexts(s.ctx, only...))
	s.inOrder(app, "only")
	s.waitLog(again, "session file set aside: another connector has taken the session")
	s.talk(fresh)
	s.nothingLost(fresh)
}

// A connector that was without a webhook for a while forgets nothing, and what came before the first webhook isn't
// delivered.
func TestWebhookConfiguredLater(t *testing.T) {
	s := newScene(t)
	app := s.application()
	c := s.paired("c")
	before := s.writes(s.peer, "peer", 1, 2)
	_, err := c.WaitText(s.ctx, s.session, before[1])
	s.must(err)
	restart := func(env ...string) {
		t.Helper()
		s.must(c.Stop(stopTime))
		c = s.connectorIn(c.ID(), c.DataDir(), env...)
		s.must(c.WaitState(s.ctx, s.session, "connected", "restored safely"))
	}
	restart(app.Env()...)
	s.must(app.WaitTexts(s.ctx, s.writes(s.peer, "later", 1, 1)...))
	restart()
	without := s.writes(s.peer, "without", 1, 2)
	_, err = c.WaitText(s.ctx, s.session, without[1])
	s.must(err)
	restart(app.Env()...)
	s.must(app.WaitTexts(s.ctx, without...))
	for _, m := range app.Messages() {
		if strings.Contains(m.Text, " peer ") {
			t.Errorf("a message from before was delivered: %s", m.ID)
		}
	}
	s.nothingLost(c)
}

// sendUnheard has the session send a text that the service takes, and its connector die without having heard so. What
// it returns repeats the request on another connector (A3): it has to end under the same message id, and the peer to
// see one text.
func (s *scene) sendUnheard(old *rig.Connector, die func()) (repeat func(fresh *rig.Connector)) {
	s.t.Helper()
	device := s.device()
	deaf := world.WhatsApp.Faults().LoseAcks(&device)
	req := control.SendRequest{To: s.peer.PN().String(), Text: s.session + " once", Key: "order 17"}
	sending := make(chan error, 1)
	go func() {
		_, err := old.Send(s.ctx, s.session, req)
		sending <- err
	}()
	got, err := s.peer.WaitText(s.ctx, req.Text)
	s.must(err)
	die()
	if err := <-sending; err == nil {
		s.t.Error("the send was reported as done although nobody acknowledged it")
	}
	deaf.Remove()
	return func(fresh *rig.Connector) {
		s.t.Helper()
		for range 2 {
			sent, err := fresh.Send(s.ctx, s.session, req)
			s.must(err)
			if sent.ID != got.ID {
				s.t.Errorf("the repeated request sent %s, the peer has %s", sent.ID, got.ID)
			}
		}
		shown := 0
		for _, m := range s.peer.Messages() {
			if m.Text == req.Text {
				shown++
			}
		}
		if shown != 1 {
			s.t.Errorf("the peer sees the message %d times", shown)
		}
	}
}

// A2: a connector has acknowledged messages while TiDB was out of its reach, hangs, and loses the session. Nobody else
// has those messages: they are delivered from its file, which is never used as a session again, after its restart.
func TestWebhookOfWhatOnlyALostFileHolds(t *testing.T) {
	s := newScene(t)
	app := s.application()
	link, env := s.databaseLink()
	env = append(env, app.Env()...)
	old := s.paired("old", env...)
	s.must(app.WaitTexts(s.ctx, s.writes(s.peer, "peer", 1, 1)...))
	s.waitPushed(old)
	app.Answer(http.StatusServiceUnavailable)
	link.cut()
	only := s.writes(s.peer, "peer", 2, 4)
	_, err := old.WaitText(s.ctx, s.session, only[len(only)-1])
	s.must(err)
	s.waitAcknowledged()
	// Right after an attempt: thawed, it is not in the middle of one.
	n := app.Attempts()
	s.must(app.Wait(s.ctx, func() bool { return app.Attempts() > n }))
	s.must(old.Freeze())

	fresh := s.connector("fresh", app.Env()...)
	s.restore()
	s.must(fresh.WaitState(s.ctx, s.session, "connected", "restored safely"))
	app.Answer(0)
	s.must(app.WaitTexts(s.ctx, s.writes(s.peer, "later", 1, 1)...))
	s.must(fresh.Messages(s.ctx, s.session, 0, false, func(m control.Message) error {
		if slices.Contains(only, m.Text) {
			t.Errorf("the new owner has %s, so this test shows nothing", m.ID)
		}
		return nil
	}))
	link.mend()
	s.must(old.Thaw())
	<-old.Done()
	_ = old.Kill9() // it has ended by itself, not cleanly, and is not to be stopped any more
	const setAside = "delivering messages that only the file of an ended term holds"
	for _, m := range app.Messages() {
		if slices.Contains(only, m.Text) && !strings.Contains(old.Logs(), setAside) {
			t.Errorf("%s was delivered from a file in use by a connector that had lost the session", m.ID)
		}
	}
	s.connectorIn(old.ID(), old.DataDir(), env...)
	s.must(app.WaitTexts(s.ctx, only...))
	s.inOrder(app, "peer")
	s.talk(fresh)
}

// The phone unlinks the session while the application is away: what it had not taken is delivered all the same.
func TestWebhookAfterLogout(t *testing.T) {
	s := newScene(t)
	app := s.application()
	c := s.paired("c", app.Env()...)
	app.Answer(http.StatusServiceUnavailable)
	texts := s.writes(s.peer, "peer", 1, 3)
	_, err := c.WaitText(s.ctx, s.session, texts[2])
	s.must(err)
	s.waitPushed(c)
	s.must(s.owner.Unlink(s.ctx, s.device()))
	s.must(c.WaitState(s.ctx, s.session, "logged_out"))
	s.waitLog(c, "log sealed")
	app.Answer(0)
	s.must(app.WaitTexts(s.ctx, texts...))
	s.inOrder(app, "peer")
}
