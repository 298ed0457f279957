package whatsapp

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/types"

	"cloudsession/connector/watest"
)

func TestPairByQRThenTalk(t *testing.T) {
	w := newWorld(t)
	c := w.pairQR()
	if !c.Paired() {
		t.Error("not paired after pairing")
	}
	if state, _ := c.State(); state != StateConnected {
		t.Errorf("state %q after pairing", state)
	}
	sent := c.send(w.other.PN(), "hello")
	if got := w.waitText(w.other, "hello"); got.ID != sent.ID {
		t.Errorf("sent as %s, shown as %s", sent.ID, got.ID)
	}
	if sent.At.IsZero() || sent.Repeated {
		t.Errorf("sent: %+v", sent)
	}
	id := w.sendText(w.other, w.own.PN(), "good morning")
	got := c.awaitMessage("good morning")
	if got.ID != id || got.Kind != "text" || got.FromMe || got.SenderPN != w.other.PN().String() || got.Chat != got.Sender {
		t.Errorf("received: %+v", got)
	}
	// What the own phone sends reaches the linked device as well.
	w.sendText(w.own, w.other.PN(), "from my phone")
	if got := c.awaitMessage("from my phone"); !got.FromMe || got.ChatPN != w.other.PN().String() {
		t.Errorf("own message: %+v", got)
	}
	w.expectSound(c)
}

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

func TestPairByCode(t *testing.T) {
	w := newWorld(t)
	c := w.open(filepath.Join(t.TempDir(), "session.db"))
	events, err := c.Pair(testContext(t), PairRequest{Phone: "+62 811-2222-3333"})
	if err != nil {
		t.Fatal(err)
	}
	var kinds []PairEventKind
	for e := range events {
		kinds = append(kinds, e.Kind)
		if e.Kind == PairCode {
			c.shown = append(c.shown, e.Text)
			if _, err := w.own.EnterCode(testContext(t), e.Text); err != nil {
				t.Fatal(err)
			}
		}
	}
	if diff := cmp.Diff([]PairEventKind{PairCode, PairSuccess}, kinds); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	c.send(w.other.PN(), "by code")
	w.waitText(w.other, "by code")
}

func TestPairRefusals(t *testing.T) {
	w := newWorld(t)
	c := w.open(filepath.Join(t.TempDir(), "session.db"))
	if _, err := c.Pair(testContext(t), PairRequest{Phone: "0811 2222"}); !errors.Is(err, ErrBadAddress) {
		t.Errorf("pairing with a local number: %v", err)
	}
	if _, err := c.Pair(testContext(t), PairRequest{Phone: "123456789@g.us"}); !errors.Is(err, ErrBadAddress) {
		t.Errorf("pairing with a group: %v", err)
	}
	if err := c.Connect(testContext(t), false); !errors.Is(err, ErrNotPaired) {
		t.Errorf("connecting without a device: %v", err)
	}
	if _, err := c.Send(testContext(t), "+62 812 4444 5555", "x", ""); !errors.Is(err, ErrNotPaired) {
		t.Errorf("sending without a device: %v", err)
	}
	if err := c.PrepareSafe(testContext(t), PrepareSafe{}); !errors.Is(err, ErrNotPaired) {
		t.Errorf("safe start without a device: %v", err)
	}
	paired := w.pairQR()
	if _, err := paired.Pair(testContext(t), PairRequest{}); !errors.Is(err, ErrPaired) {
		t.Errorf("pairing again: %v", err)
	}
	if err := paired.Connect(testContext(t), false); !errors.Is(err, ErrStarted) {
		t.Errorf("connecting again: %v", err)
	}
}

func TestPairCancelled(t *testing.T) {
	w := newWorld(t)
	c := w.open(filepath.Join(t.TempDir(), "session.db"))
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	events, err := c.Pair(ctx, PairRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var kinds []PairEventKind
	for e := range events {
		kinds = append(kinds, e.Kind)
		cancel()
	}
	if diff := cmp.Diff([]PairEventKind{PairQR, PairTimeout}, kinds); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if state, _ := c.State(); state != StateUnpaired || c.Paired() {
		t.Errorf("state %q, paired %v after a cancelled pairing", state, c.Paired())
	}
}

// Whether the phone wants a passkey is for the phone to say: the notification goes through whatsmeow as it comes from
// the service.
func TestPairPasskeyIsRefused(t *testing.T) {
	w := newWorld(t)
	c := w.open(filepath.Join(t.TempDir(), "session.db"))
	events, err := c.Pair(testContext(t), PairRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var last PairEvent
	for e := range events {
		if last = e; e.Kind == PairQR {
			c.internals().HandlePasskeyNotification(c.ctx, &waBinary.Node{
				Tag:   "notification",
				Attrs: waBinary.Attrs{"type": "passkey_prologue_request", "from": types.ServerJID, "id": "1"},
				Content: []waBinary.Node{{
					Tag: "passkey_request_options", Content: []byte(`{"challenge":"AAAA","rpId":"whatsapp.com","timeout":60000}`),
				}},
			})
		}
	}
	if last.Kind != PairPasskey || !strings.Contains(last.Text, "passkey") {
		t.Errorf("pairing ended with %+v", last)
	}
	w.wait("socket closed", func() bool { return !c.cli.IsConnected() })
	if c.Paired() || c.count("whatsmeow_device") != 0 {
		t.Error("a device is left behind")
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
	if err := first.waitReady(testContext(t)); !errors.Is(err, ErrReplaced) {
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
			w.wait("refusal", func() bool { return w.service.Counters().LoginsRefused > 0 })
			rule.Remove()
		}()
		c.connect(false)
		if rule.Hits() == 0 {
			t.Errorf("%d: never refused", reason)
		}
	}
}

func TestStopIsABarrier(t *testing.T) {
	w := newWorld(t)
	c := w.pairQR()
	c.send(w.other.PN(), "hello")
	if err := c.Stop(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if state, _ := c.State(); state != StateStopped {
		t.Errorf("state %q after Stop", state)
	}
	if _, err := c.Send(testContext(t), w.other.PN().String(), "late", ""); !errors.Is(err, ErrStopped) {
		t.Errorf("send after Stop: %v", err)
	}
	before := c.messages()
	if c.handle(textEvent(w, "late")) {
		t.Error("the handler took a message after Stop")
	}
	if diff := cmp.Diff(before, c.messages()); diff != "" {
		t.Errorf("written after Stop:\n%s", diff)
	}
	w.wait("socket closed", func() bool { return w.service.Device(c.jid()).Sockets == 0 })
	if err := c.Stop(testContext(t)); err != nil {
		t.Errorf("second Stop: %v", err)
	}
}

// A service that takes the connection and then says nothing doesn't hold up a stop.
func TestStopWhileTheServiceIsSilent(t *testing.T) {
	t.Parallel() // whatsmeow waits for its handshake
	w := newWorld(t)
	paired := w.pairQR()
	paired.close()
	var silent sync.WaitGroup
	dialled, end := make(chan struct{}, 8), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(rw, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
		if err != nil {
			t.Error(err)
			return
		}
		silent.Add(1)
		defer silent.Done()
		dialled <- struct{}{}
		<-end
		_ = conn.CloseNow()
	}))
	defer server.Close()
	defer silent.Wait()
	defer close(end)
	c := w.open(paired.path, func(cfg *Config) { cfg.Endpoint.Addr = server.Listener.Addr().String() })
	ctx, cancel := context.WithCancel(testContext(t))
	go func() {
		<-dialled
		cancel()
	}()
	if err := c.Connect(ctx, false); !errors.Is(err, context.Canceled) {
		t.Fatalf("connect: %v", err)
	}
	began := time.Now()
	err := c.Stop(testContext(t))
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("stopping took %v", took)
	}
	if err == nil {
		t.Error("Stop says that nothing was under way")
	}
	c.tasks.Wait() // until whatsmeow gives up its handshake
}

func TestStopWithoutStart(t *testing.T) {
	w := newWorld(t)
	c := w.open(filepath.Join(t.TempDir(), "session.db"))
	if err := c.Stop(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Pair(testContext(t), PairRequest{}); !errors.Is(err, ErrStopped) {
		t.Errorf("pair after Stop: %v", err)
	}
	if state, _ := c.State(); state != StateUnpaired {
		t.Errorf("state %q", state)
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
