package watest_test

import (
	"fmt"
	"testing"

	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/types/events"

	"cloudsession/connector/watest"
)

// staleCopy makes a client, lets it talk with Bob, copies its file, and lets
// it send k messages more. It returns the copy's path: state that is k
// messages old.
func staleCopy(t *testing.T, addr string, alice, bob *watest.Phone, k int) string {
	t.Helper()
	c := pairQR(t, addr, alice)
	c.send(bob.PN(), "hello")
	waitText(t, bob, "hello")
	waitText(t, alice, "hello")
	sendText(t, bob, alice.LID(), "answer")
	c.awaitText("answer")
	c.closeFile()
	copied := copyFile(t, c.path)

	c = open(t, addr, c.path)
	c.connect()
	for i := range k {
		text := fmt.Sprintf("after the copy %d", i)
		c.send(bob.PN(), text)
		waitText(t, bob, text)
		waitText(t, alice, text)
	}
	c.closeFile()
	return copied
}

func TestStaleCopyLosesMessagesSilently(t *testing.T) {
	const k = 3
	s, addr := service(t)
	alice, bob := newPhone(t, s, "6281111111111", "Alice"), newPhone(t, s, "6282222222222", "Bob")
	c := open(t, addr, staleCopy(t, addr, alice, bob, k))
	expectSound(t, s)
	c.connect()
	for i := range k {
		id := c.send(bob.PN(), fmt.Sprintf("from the copy %d", i))
		// Bob's phone confirms what it has dropped.
		await(c, "delivery receipt", func(e *events.Receipt) bool {
			return e.MessageIDs[0] == id && e.Type == types.ReceiptTypeDelivered && !e.IsFromMe
		})
	}
	c.send(bob.PN(), "the first one that is shown")
	waitText(t, bob, "the first one that is shown")
	waitText(t, alice, "the first one that is shown")

	// Bob's chain has gone on by k messages, and so has the one to Alice's phone.
	counters := s.Counters()
	if counters.OldCounter != 2*k || counters.KeysReused != 2*k || counters.RetryReceipts != 0 {
		t.Errorf("counters: %+v", counters)
	}
	if lost := s.Lost(); len(lost) != 2*k || !lost[0].Confirmed {
		t.Errorf("lost: %+v", lost)
	}
	if reuses := s.Reuses(); len(reuses) != 2*k || reuses[0].Device != c.Store.LID || reuses[0].Group {
		t.Errorf("reuses: %+v", reuses)
	}
}

func TestStaleCopyWithoutSessionsLosesNothing(t *testing.T) {
	s, addr := service(t)
	alice, bob := newPhone(t, s, "6281111111111", "Alice"), newPhone(t, s, "6282222222222", "Bob")
	c := open(t, addr, staleCopy(t, addr, alice, bob, 3))
	if _, err := c.db.ExecContext(testContext(t), "DELETE FROM whatsmeow_sessions"); err != nil {
		t.Fatal(err)
	}
	c.connect()
	for i := range 3 {
		text := fmt.Sprintf("from the copy %d", i)
		c.send(bob.PN(), text)
		waitText(t, bob, text)
		waitText(t, alice, text)
	}
	sendText(t, bob, alice.LID(), "and back")
	c.awaitText("and back")
	expectSound(t, s)
	if got := s.Counters().RetryReceipts; got != 0 {
		t.Errorf("%d retry receipts", got)
	}
}

// A copy older than a prekey upload: the service hands out keys the copy does
// not have.
func TestStalePreKeysAreAskedAround(t *testing.T) {
	s, addr := service(t)
	alice, bob := newPhone(t, s, "6281111111111", "Alice"), newPhone(t, s, "6282222222222", "Bob")
	a, b := pairQR(t, addr, alice), pairQR(t, addr, bob)
	device := *a.Store.ID
	a.closeFile()
	copied := copyFile(t, a.path)
	a = open(t, addr, a.path)
	a.connect()
	for s.Device(device).PreKeyUploads < 2 || s.Device(device).PreKeys > 50 {
		if _, err := b.DangerousInternals().FetchPreKeys(testContext(t), []types.JID{device}); err != nil { //nolint:staticcheck // the only way to ask for exactly this
			t.Fatal(err)
		}
	}
	a.closeFile()

	c := open(t, addr, copied)
	c.connect()
	sendText(t, bob, alice.LID(), "under a key you lost")
	c.awaitText("under a key you lost")
	if got := s.Counters().RetryReceipts; got != 2 {
		t.Errorf("%d retry receipts, want one without keys and one with", got)
	}
}

func TestReuseOfSenderKeys(t *testing.T) {
	s, addr := service(t)
	alice, bob := newPhone(t, s, "6281111111111", "Alice"), newPhone(t, s, "6282222222222", "Bob")
	a := pairQR(t, addr, alice)
	group, err := bob.CreateGroup(testContext(t), alice.LID())
	if err != nil {
		t.Fatal(err)
	}
	a.send(group, "first")
	waitText(t, bob, "first")
	a.closeFile()
	copied := copyFile(t, a.path)
	a = open(t, addr, a.path)
	a.connect()
	a.send(group, "second")
	waitText(t, bob, "second")
	a.closeFile()

	c := open(t, addr, copied)
	if _, err := c.db.ExecContext(testContext(t), "DELETE FROM whatsmeow_sessions"); err != nil {
		t.Fatal(err)
	}
	c.connect()
	c.send(group, "also second")
	waitFor(t, s, "reuse is seen", func() bool { return s.Counters().KeysReused == 1 })
	if reuses := s.Reuses(); !reuses[0].Group {
		t.Errorf("reuses: %+v", reuses)
	}
}

// The account's own phone fills in for a sender that does not answer.
func TestPhoneResendsPlaceholder(t *testing.T) {
	s, addr := service(t)
	alice, bob := newPhone(t, s, "6281111111111", "Alice"), newPhone(t, s, "6282222222222", "Bob")
	c := pairQR(t, addr, alice, func(c *client) { c.SynchronousAck = true })
	c.send(bob.PN(), "opens sessions with both phones")
	waitText(t, bob, "opens sessions with both phones")
	bob.SetSilent(true)
	if _, err := c.db.ExecContext(testContext(t), "DELETE FROM whatsmeow_sessions WHERE their_id LIKE ?", bob.LID().User+"%"); err != nil {
		t.Fatal(err)
	}
	sendText(t, bob, alice.LID(), "said once")
	m := c.awaitText("said once")
	if m.UnavailableRequestID == "" || m.Info.Chat.User != bob.LID().User {
		t.Errorf("got it as %+v", m.Info)
	}
}

// A device gets no copy, in a chat or in a group, and its phone has one.
func TestWithheldCopies(t *testing.T) {
	s, addr := service(t)
	alice, bob := newPhone(t, s, "6281111111111", "Alice"), newPhone(t, s, "6282222222222", "Bob")
	c := pairQR(t, addr, alice, func(c *client) { c.SynchronousAck = true })
	group, err := bob.CreateGroup(testContext(t), alice.LID())
	if err != nil {
		t.Fatal(err)
	}
	sendText(t, alice, bob.LID(), "opens a session with the device")
	c.awaitText("opens a session with the device")
	rule := s.Faults().Withhold(c.Store.ID)
	for n, to := range []types.JID{alice.LID(), group} {
		text := fmt.Sprint("for the phone alone ", n)
		sendText(t, bob, to, text)
		waitText(t, alice, text)
		if m := c.awaitText(text); m.UnavailableRequestID == "" || rule.Hits() != n+1 {
			t.Errorf("got it as %+v, withheld %d", m.Info, rule.Hits())
		}
	}
	rule.Remove()
	sendText(t, bob, alice.LID(), "for everybody")
	if m := c.awaitText("for everybody"); m.UnavailableRequestID != "" {
		t.Error("withheld without the rule")
	}
}

func TestReportShown(t *testing.T) {
	s, addr := service(t)
	alice, bob := newPhone(t, s, "6281111111111", "Alice"), newPhone(t, s, "6282222222222", "Bob")
	c := pairQR(t, addr, alice)
	device := *c.Store.ID
	sendText(t, bob, alice.LID(), "one")
	sendText(t, bob, alice.LID(), "two")
	first, second := c.awaitText("one"), c.awaitText("two")
	if lost := s.LostBy(device); len(lost) != 2 {
		t.Errorf("%d not shown, want 2", len(lost))
	}
	report := func(m *events.Message) { s.ReportShown(device, m.Info.Sender, m.Info.Chat, m.Info.ID, textOf(m)) }
	report(first)
	if lost := s.LostBy(device); len(lost) != 1 || lost[0].ID != second.Info.ID {
		t.Errorf("not shown: %+v", lost)
	}
	report(second)
	if s.Counters().ShownTwice != 0 {
		t.Error("something counts as shown twice")
	}
	report(second)
	s.ReportShown(device, first.Info.Sender, first.Info.Chat, "another id", "one")
	if got := s.Counters().ShownTwice; got != 2 {
		t.Errorf("%d shown twice, want 2", got)
	}
}
