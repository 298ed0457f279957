package whatsapp

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.mau.fi/whatsmeow/types"

	"cloudsession/connector/watest"
)

// expectSound checks that nothing was lost, shown twice, or encrypted under a used key.
func (w *world) expectSound(c *client) {
	w.t.Helper()
	if err := w.service.WaitNothingLost(testContext(w.t)); err != nil {
		w.t.Errorf("lost: %+v", w.service.Lost())
	}
	counters := w.service.Counters()
	if counters.KeysReused != 0 || counters.ShownTwice != 0 || counters.OldCounter != 0 {
		w.t.Errorf("counters: %+v", counters)
	}
	seen := map[string]int{}
	for _, m := range c.messages() {
		if seen[m.Text]++; seen[m.Text] > 1 {
			w.t.Errorf("%q is in the inbox twice", m.Text)
		}
	}
}

func TestConnectAgainAndCatchUp(t *testing.T) {
	w := newWorld(t)
	c := w.pairQR()
	c.send(w.other.PN(), "before")
	w.waitText(w.other, "before")
	c.close()
	w.sendText(w.other, w.own.PN(), "while away")

	again := w.open(c.path)
	if !again.Paired() {
		t.Fatal("the file lost its device")
	}
	again.connect(false)
	again.awaitMessage("while away")
	again.send(w.other.PN(), "after")
	w.waitText(w.other, "after")
	w.expectSound(again)
}

func TestReconnectsAfterCut(t *testing.T) {
	w := newWorld(t)
	c := w.pairQR()
	c.forgetStates()
	device := c.jid()
	w.service.Faults().Cut(&device)
	c.awaitState(StateDisconnected)
	c.send(w.other.PN(), "after the cut") // waits for the new connection
	w.waitText(w.other, "after the cut")
	c.awaitState(StateConnected)
	w.expectSound(c)
}

func TestMayConnectDelays(t *testing.T) {
	w := newWorld(t)
	c := w.pairQR()
	c.close()
	asked, allowed := make(chan struct{}, 16), make(chan struct{})
	again := w.open(c.path, func(cfg *Config) {
		cfg.MayConnect = func(context.Context) error {
			asked <- struct{}{}
			select {
			case <-allowed:
				return nil
			default:
				return errors.New("not the owner")
			}
		}
	})
	short, cancel := context.WithCancel(testContext(t))
	go func() {
		<-asked
		cancel()
	}()
	if err := again.Connect(short, false); !errors.Is(err, context.Canceled) {
		t.Fatalf("connect: %v", err)
	}
	if n := w.service.Device(c.jid()).Logins; n != 1 {
		t.Fatalf("%d logins although it may not connect", n)
	}
	close(allowed)
	again.awaitState(StateConnected)
}

func TestLoggedOutKeepsRows(t *testing.T) {
	w := newWorld(t)
	c := w.pairQR()
	c.send(w.other.PN(), "one")
	device := c.jid()
	if err := w.own.Unlink(testContext(t), device); err != nil {
		t.Fatal(err)
	}
	c.awaitState(StateLoggedOut)
	if _, detail := c.State(); detail == "" {
		t.Error("no next step is named")
	}
	if _, err := c.Send(testContext(t), w.other.PN().String(), "two", ""); !errors.Is(err, ErrLoggedOut) {
		t.Errorf("send after logout: %v", err)
	}
	for _, table := range []string{"whatsmeow_device", "whatsmeow_sessions", "whatsmeow_pre_keys", "whatsmeow_identity_keys"} {
		if n := c.count(table); n == 0 {
			t.Errorf("%s is empty after a logout", table)
		}
	}
	c.close()
	again := w.open(c.path)
	if err := again.Connect(testContext(t), false); !errors.Is(err, ErrLoggedOut) {
		t.Errorf("connect after logout: %v", err)
	}
	if n := again.count("whatsmeow_device"); n != 1 {
		t.Errorf("%d devices after a refused login", n)
	}
}

func (c *client) count(table string) (n int) {
	c.t.Helper()
	if err := c.file.DB().QueryRowContext(c.t.Context(), `SELECT COUNT(*) FROM `+table).Scan(&n); err != nil {
		c.t.Fatal(err)
	}
	return n
}

func TestReplacedStops(t *testing.T) {
	w := newWorld(t)
	c := w.pairQR()
	device := c.jid()
	c.close()
	copied := copyFile(t, c.path)
	first := w.open(c.path)
	first.connect(false)
	clone := w.open(copied)
	clone.connect(false)
	first.awaitState(StateReplaced)
	if err := first.Wait(testContext(t)); !errors.Is(err, ErrReplaced) {
		t.Errorf("after a replacement: %v", err)
	}
	w.wait("one socket", func() bool { return w.service.Device(device).Sockets == 1 })
	if state, _ := clone.State(); state != StateConnected {
		t.Errorf("the clone is %q", state)
	}
	if info := w.service.Device(device); info.Logins != 3 {
		t.Errorf("%d logins: the replaced session has connected again", info.Logins)
	}
}

func TestRefusedLogins(t *testing.T) {
	w := newWorld(t)
	paired := w.pairQR()
	paired.close()
	for _, test := range []struct {
		name    string
		refusal watest.Refusal
		state   State
		check   func(error) bool
	}{
		{"main device gone", watest.Refusal{Reason: 403}, StateLoggedOut, is(ErrLoggedOut)},
		{"unknown logout", watest.Refusal{Reason: 406}, StateLoggedOut, is(ErrLoggedOut)},
		{"outdated", watest.Refusal{Reason: 405}, StateOutdated, is(ErrOutdated)},
		{"banned", watest.Refusal{Reason: 402, Code: 101, Expire: time.Hour}, StateBanned, func(err error) bool {
			var banned *BannedError
			return errors.As(err, &banned) && time.Until(banned.Until) > 50*time.Minute && time.Until(banned.Until) <= time.Hour
		}},
		{"bad user agent", watest.Refusal{Reason: 409, Message: "no"}, StateRefused, refused(409)},
		{"not found", watest.Refusal{Reason: 415}, StateRefused, refused(415)},
		{"client unknown", watest.Refusal{Reason: 418}, StateRefused, refused(418)},
		{"messenger token", watest.Refusal{Reason: 413}, StateRefused, refused(414)},
		{"unknown", watest.Refusal{Reason: 499}, StateRefused, refused(499)},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.t = t
			rule := w.service.Faults().RefuseLogins(nil, test.refusal)
			defer rule.Remove()
			c := w.open(copyFile(t, paired.path))
			err := c.Connect(testContext(t), false)
			if !test.check(err) {
				t.Errorf("connect: %v", err)
			}
			if state, detail := c.State(); state != test.state || detail == "" {
				t.Errorf("state %q, %q", state, detail)
			}
			if rule.Hits() != 1 {
				t.Errorf("%d logins: it tried again", rule.Hits())
			}
			if n := c.count("whatsmeow_device"); n != 1 {
				t.Errorf("%d devices left in the file", n)
			}
		})
	}
}

func is(want error) func(error) bool { return func(err error) bool { return errors.Is(err, want) } }

func refused(code int) func(error) bool {
	return func(err error) bool {
		var r *RefusedError
		return errors.As(err, &r) && r.Code == code
	}
}

func TestPassingRefusalsAreTriedAgain(t *testing.T) {
	for _, reason := range []int{501, 503} {
		w := newWorld(t)
		paired := w.pairQR()
		paired.close()
		rule := w.service.Faults().RefuseLogins(nil, watest.Refusal{Reason: reason})
		c := w.open(paired.path)
		go func() { // lets the login pass once it was refused
			w.comes("refusal", func() bool { return w.service.Counters().LoginsRefused > 0 })
			rule.Remove()
		}()
		c.connect(false)
		if rule.Hits() == 0 {
			t.Errorf("%d: never refused", reason)
		}
	}
}

func TestGroup(t *testing.T) {
	w := newWorld(t)
	c := w.pairQR()
	group, err := w.other.CreateGroup(testContext(t), w.own.PN())
	if err != nil {
		t.Fatal(err)
	}
	c.send(group, "to all")
	w.waitText(w.other, "to all")
	w.sendText(w.other, group, "thanks")
	got := c.awaitMessage("thanks")
	if got.Chat != group.String() || got.SenderPN != w.other.PN().String() {
		t.Errorf("received: %+v", got)
	}
	w.expectSound(c)
	unknown := types.NewJID("120363000000000000", types.GroupServer)
	if _, err := c.Send(testContext(t), unknown.String(), "x", ""); err == nil {
		t.Error("sent to a group that doesn't exist")
	}
}
