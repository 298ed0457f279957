package watest_test

import (
	"testing"

	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/types/events"

	"cloudsession/connector/watest"
)

func TestOfflineAndCatchUp(t *testing.T) {
	s, addr := service(t)
	alice, bob := newPhone(t, s, "6281111111111", "Alice"), newPhone(t, s, "6282222222222", "Bob")
	a, b := pairQR(t, addr, alice), pairQR(t, addr, bob)
	device := *a.Store.ID
	waitFor(t, s, "the news of the linking is confirmed", func() bool { return s.Device(device).Queued == 0 })
	a.Disconnect()
	waitFor(t, s, "client is away", func() bool { return s.Device(device).Sockets == 0 })

	sendText(t, bob, alice.LID(), "one")
	b.send(alice.PN(), "two")
	group, err := bob.CreateGroup(testContext(t), alice.LID())
	if err != nil {
		t.Fatal(err)
	}
	sendText(t, bob, group, "three")
	if queued := s.Device(device).Queued; queued != 4 {
		t.Errorf("%d stanzas wait, want 3 messages and a notification", queued)
	}
	a.forget()
	a.connect()
	for _, text := range []string{"one", "two", "three"} {
		a.awaitText(text)
	}
	await(a, "end of the queue", func(e *events.OfflineSyncCompleted) bool { return e.Count == 4 })
	waitFor(t, s, "queue is confirmed", func() bool { return s.Device(device).Queued == 0 })
	expectSound(t, s)
}

func TestReplaced(t *testing.T) {
	s, addr := service(t)
	alice := newPhone(t, s, "6281111111111", "Alice")
	first := pairQR(t, addr, alice)
	second := open(t, addr, first.path)
	second.connect()
	await[*events.StreamReplaced](first, "word of the other login", nil)
	sendText(t, alice, alice.LID(), "note to self")
	second.awaitText("note to self")
	if c := s.Counters(); c.Replaced != 1 || c.MaxSocketsPerDevice != 2 {
		t.Errorf("counters: %+v", c)
	}
	if got := first.texts(); len(got) != 0 {
		t.Errorf("replaced client got %q", got)
	}
}

// A client that doesn't hang up after a replacement is cut off.
func TestReplacedSocketIsClosed(t *testing.T) {
	s, addr := service(t)
	first := pairQR(t, addr, newPhone(t, s, "6281111111111", "Alice"), func(c *client) { c.EnableAutoReconnect = false })
	rule := s.Faults().HangUp()
	defer rule.Remove()
	second := open(t, addr, first.path)
	second.connect()
	waitFor(t, s, "the old socket is closed", func() bool { return s.Device(*second.Store.ID).Sockets == 1 })
	if rule.Hits() != 1 {
		t.Errorf("%d sockets were closed", rule.Hits())
	}
}

func TestUnlinked(t *testing.T) {
	s, addr := service(t)
	alice, bob := newPhone(t, s, "6281111111111", "Alice"), newPhone(t, s, "6282222222222", "Bob")
	ctx := testContext(t)
	// settled pairs a client and talks with it: what whatsmeow does in the
	// background after a login must not meet the removal of its store.
	settled := func(text string) *client {
		c := pairQR(t, addr, alice)
		sendText(t, bob, alice.LID(), text)
		c.awaitText(text)
		c.send(bob.LID(), "re: "+text)
		return c
	}

	online := settled("one")
	device := *online.Store.ID
	if err := alice.Unlink(ctx, device); err != nil {
		t.Fatal(err)
	}
	if e := await[*events.LoggedOut](online, "word of the removal", nil); e.OnConnect {
		t.Error("told at connect")
	}

	offline := settled("two")
	device = *offline.Store.ID
	offline.Disconnect()
	if err := alice.Unlink(ctx, device); err != nil {
		t.Fatal(err)
	}
	if err := offline.Connect(); err != nil {
		t.Fatal(err)
	}
	if e := await[*events.LoggedOut](offline, "refusal", nil); !e.OnConnect || e.Reason != events.ConnectFailureLoggedOut {
		t.Errorf("told %+v", e)
	}

	leaver := settled("three")
	if err := leaver.Logout(ctx); err != nil {
		t.Fatal(err)
	}
	if got := alice.Devices(); len(got) != 0 {
		t.Errorf("devices left: %v", got)
	}
	if err := alice.Unlink(ctx, device); err == nil {
		t.Error("a device was unlinked twice")
	}
	sendText(t, bob, alice.LID(), "only your phone")
	waitText(t, alice, "only your phone")
	if c := s.Counters(); c.Unlinked != 3 || c.LoginsRefused != 1 {
		t.Errorf("counters: %+v", c)
	}
}

func TestReceipts(t *testing.T) {
	s, addr := service(t)
	alice, bob := newPhone(t, s, "6281111111111", "Alice"), newPhone(t, s, "6282222222222", "Bob")
	c := pairQR(t, addr, alice)
	ctx := testContext(t)

	id := sendText(t, bob, alice.LID(), "read me")
	m := c.awaitText("read me")
	if _, err := bob.WaitReceipt(ctx, id, types.ReceiptTypeDelivered); err != nil {
		t.Fatal(err)
	}
	if err := c.MarkRead(ctx, []types.MessageID{id}, m.Info.Timestamp, m.Info.Chat, m.Info.Sender); err != nil {
		t.Fatal(err)
	}
	if r, err := bob.WaitReceipt(ctx, id, types.ReceiptTypeRead); err != nil || r.From != c.Store.LID {
		t.Errorf("read receipt: %v, %+v", err, r)
	}

	sent := c.send(bob.LID(), "and you me")
	r := waitText(t, bob, "and you me")
	await(c, "delivery receipt", func(e *events.Receipt) bool { return e.MessageIDs[0] == sent && e.Type == types.ReceiptTypeDelivered })
	bob.MarkRead(ctx, r)
	await(c, "read receipt", func(e *events.Receipt) bool { return e.MessageIDs[0] == sent && e.Type == types.ReceiptTypeRead })
	expectSound(t, s)
}

func TestPhoneAnswersRetry(t *testing.T) {
	s, addr := service(t)
	alice, bob := newPhone(t, s, "6281111111111", "Alice"), newPhone(t, s, "6282222222222", "Bob")
	c := pairQR(t, addr, alice)
	sendText(t, bob, alice.LID(), "opens the session")
	c.awaitText("opens the session")
	if _, err := c.db.ExecContext(testContext(t), "DELETE FROM whatsmeow_sessions"); err != nil {
		t.Fatal(err)
	}
	sendText(t, bob, alice.LID(), "say again")
	c.awaitText("say again")
	waitFor(t, s, "one retry", func() bool { return s.Counters().RetryReceipts >= 1 && s.Counters().Repeated >= 1 })

	group, err := bob.CreateGroup(testContext(t), alice.LID())
	if err != nil {
		t.Fatal(err)
	}
	sendText(t, bob, group, "opens the group")
	c.awaitText("opens the group")
	if _, err := c.db.ExecContext(testContext(t), "DELETE FROM whatsmeow_sender_keys; DELETE FROM whatsmeow_sessions"); err != nil {
		t.Fatal(err)
	}
	sendText(t, bob, group, "say again, all")
	c.awaitText("say again, all")
}

func TestClientAnswersRetry(t *testing.T) {
	s, addr := service(t)
	alice, bob := newPhone(t, s, "6281111111111", "Alice"), newPhone(t, s, "6282222222222", "Bob")
	a, b := pairQR(t, addr, alice), pairQR(t, addr, bob)
	a.send(bob.PN(), "opens the session")
	b.awaitText("opens the session")
	waitText(t, bob, "opens the session")
	bob.ForgetSessions()
	if _, err := b.db.ExecContext(testContext(t), "DELETE FROM whatsmeow_sessions"); err != nil {
		t.Fatal(err)
	}
	sendText(t, bob, alice.LID(), "turns the ratchet")
	a.awaitText("turns the ratchet")
	a.send(bob.PN(), "say again")
	b.awaitText("say again")
	waitText(t, bob, "say again")
	expectSound(t, s)
}

func TestLowPreKeysCauseAnUpload(t *testing.T) {
	s, addr := service(t)
	alice, bob := newPhone(t, s, "6281111111111", "Alice"), newPhone(t, s, "6282222222222", "Bob")
	a, b := pairQR(t, addr, alice), pairQR(t, addr, bob)
	device := *a.Store.ID
	for range s.Device(device).PreKeys - 4 { // counted before: the upload comes as soon as 4 are left
		if _, err := b.DangerousInternals().FetchPreKeys(testContext(t), []types.JID{device}); err != nil { //nolint:staticcheck // the only way to ask for exactly this
			t.Fatal(err)
		}
	}
	waitFor(t, s, "upload", func() bool { return s.Device(device).PreKeyUploads == 2 })
	if info := s.Device(device); info.PreKeys != 54 {
		t.Errorf("after the upload: %+v", info)
	}
}

func TestFaults(t *testing.T) {
	s, addr := service(t)
	alice, bob := newPhone(t, s, "6281111111111", "Alice"), newPhone(t, s, "6282222222222", "Bob")
	c := pairQR(t, addr, alice, (*client).reconnectByHand)
	device := *c.Store.ID
	f := s.Faults()
	// again runs a fault that ends the connection, and waits for the next one.
	again := func(t *testing.T, fault func()) {
		t.Helper()
		before := s.Device(device).Logins
		fault()
		waitFor(t, s, "client is back", func() bool { return s.Device(device).Logins > before && s.Device(device).Active })
	}

	t.Run("hold", func(t *testing.T) {
		gate := f.Hold(&device, watest.ToDevice, watest.Tag("message"))
		sendText(t, bob, alice.LID(), "late")
		waitFor(t, s, "message is held", func() bool { return gate.Hits() == 1 })
		if got := c.texts(); len(got) != 0 {
			t.Errorf("got %q", got)
		}
		gate.Remove()
		c.awaitText("late")
	})
	t.Run("drop", func(t *testing.T) {
		rule := f.Drop(nil, watest.ToDevice, watest.Tag("message"))
		sendText(t, bob, alice.LID(), "lost on the way")
		waitFor(t, s, "message is dropped", func() bool { return rule.Hits() == 1 })
		rule.Remove()
		again(t, func() {
			if f.Cut(&device) != 1 {
				t.Error("no socket to cut")
			}
		})
		c.awaitText("lost on the way")
	})
	t.Run("lost ack", func(t *testing.T) {
		rule := f.LoseAcks(&device)
		done := make(chan error, 1)
		go func() { done <- sendPersistently(t, s, c, bob.PN(), "answered late") }()
		waitText(t, bob, "answered late")
		waitFor(t, s, "ack is lost", func() bool { return rule.Hits() == 1 })
		rule.Remove()
		again(t, func() { f.Cut(&device) }) // the client sends the same frame again, or after 5 s another
		if err := <-done; err != nil {
			t.Error(err)
		}
		waitFor(t, s, "second copy is not shown", func() bool { return s.Counters().OldCounter+s.Counters().Suppressed >= 1 })
		if s.Counters().ShownTwice != 0 || s.Counters().KeysReused != 0 {
			t.Errorf("counters: %+v", s.Counters())
		}
	})
	t.Run("refuse", func(t *testing.T) {
		c.forget()
		rule := f.RefuseLogins(&device, watest.Refusal{Reason: 402, Code: 101, Expire: 1e9})
		f.Cut(&device)
		if ban := await[*events.TemporaryBan](c, "ban", nil); ban.Code != 101 || ban.Expire != 1e9 {
			t.Errorf("ban %+v", ban)
		}
		rule.Remove()
		c.Disconnect()
		again(t, c.connect)
	})
	t.Run("stream error", func(t *testing.T) {
		again(t, func() {
			if f.StreamError(nil, "503") != 1 {
				t.Error("no socket to end")
			}
		})
	})
	for _, when := range []struct {
		name      string
		direction watest.Direction
		match     watest.Match
	}{
		{"cut before", watest.FromDevice, watest.Tag("message")},
		{"cut after", watest.ToDevice, watest.Tag("ack")},
	} {
		t.Run(when.name, func(t *testing.T) {
			rule := f.CutOn(&device, when.direction, watest.Once(when.match))
			defer rule.Remove()
			again(t, func() {
				if err := sendPersistently(t, s, c, bob.PN(), when.name); err != nil {
					t.Error(err)
				}
			})
			if rule.Hits() != 1 {
				t.Error("no cut")
			}
			waitText(t, bob, when.name)
		})
	}
	t.Run("clone", func(t *testing.T) {
		waitFor(t, s, "client is back", func() bool { return s.Device(device).Active })
		rule := f.AllowClones(&device)
		defer rule.Remove()
		clone := open(t, addr, c.path)
		clone.connect()
		if info := s.Device(device); info.Sockets != 2 || info.MaxSockets != 2 || info.Replaced != 0 {
			t.Errorf("device %+v", info)
		}
	})
}
