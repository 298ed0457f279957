package whatsapp

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/types"

	"cloudsession/connector/watest"
)

// staleCopy makes a session, copies its file, and then uses the original further: messages both ways, a group message,
// new prekeys. It returns the copy, and the highest prekey id in use.
func staleCopy(t *testing.T, w *world) (path string, group types.JID, highest uint32) {
	t.Helper()
	c := w.pairQR()
	group, err := w.other.CreateGroup(testContext(t), w.own.PN())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		c.send(w.other.PN(), fmt.Sprintf("early %d", i))
		w.sendText(w.other, w.own.PN(), fmt.Sprintf("early answer %d", i))
		c.awaitMessage(fmt.Sprintf("early answer %d", i))
	}
	c.send(group, "early to all")
	w.waitText(w.other, "early to all")
	c.close()
	path = copyFile(t, c.path)

	again := w.open(c.path)
	again.connect(false)
	for i := range 4 {
		again.send(w.other.PN(), fmt.Sprintf("later %d", i))
		again.send(group, fmt.Sprintf("later to all %d", i))
	}
	w.waitText(w.other, "later to all 3")
	if err := again.file.DB().QueryRowContext(t.Context(), `SELECT MAX(key_id) FROM whatsmeow_pre_keys`).Scan(&highest); err != nil {
		t.Fatal(err)
	}
	again.close()
	return path, group, highest
}

// Without a safe start the messages after a restore vanish: this is why there is one.
func TestStaleCopyLosesMessages(t *testing.T) {
	w := newWorld(t)
	path, group, _ := staleCopy(t, w)
	c := w.open(path)
	c.connect(false)
	for i := range 3 {
		c.send(w.other.PN(), fmt.Sprintf("restored %d", i)) // acknowledged as if nothing were wrong
		c.send(group, fmt.Sprintf("restored to all %d", i))
	}
	// The other phone and the own one drop each of them.
	w.wait("delivery", func() bool { return w.service.Counters().OldCounter >= 12 || w.lostBy(w.other) == 0 })
	if lost := w.lostBy(w.other); lost != 6 {
		t.Errorf("%d messages lost, expected all 6", lost)
	}
	if w.service.Counters().KeysReused == 0 {
		t.Error("no message key was used twice")
	}
}

func TestSafeStartLosesNothing(t *testing.T) {
	w := newWorld(t)
	path, group, highest := staleCopy(t, w)
	c := w.open(path)
	if err := c.PrepareSafe(testContext(t), PrepareSafe{MaxPreKeyID: highest}); err != nil {
		t.Fatal(err)
	}
	if n := c.count("whatsmeow_sessions"); n != 0 {
		t.Errorf("%d signal sessions left", n)
	}
	if n := c.count("whatsmeow_pre_keys WHERE NOT uploaded"); n != 0 {
		t.Errorf("%d prekeys would be uploaded again", n)
	}
	c.connect(true)
	if state, _ := c.State(); state != StateRestored {
		t.Errorf("state %q after a safe start", state)
	}
	if info := w.service.Device(c.jid()); info.MaxPreKeyID <= highest+preKeyGap {
		t.Errorf("highest prekey at the service %d, used before up to %d", info.MaxPreKeyID, highest)
	}
	if n := c.count(`whatsmeow_sessions WHERE their_id = '` + w.own.LID().SignalAddress().String() + `'`); n != 1 {
		t.Error("no session with the own phone")
	}
	for i := range 3 {
		c.send(w.other.PN(), fmt.Sprintf("restored %d", i))
		c.send(group, fmt.Sprintf("restored to all %d", i))
	}
	if state, _ := c.State(); state != StateRestored {
		t.Errorf("state %q after sending", state)
	}
	w.sendText(w.other, w.own.PN(), "welcome back")
	w.sendText(w.other, group, "all of you")
	c.awaitMessage("welcome back")
	c.awaitMessage("all of you")
	c.awaitState(StateConnected)
	w.expectSound(c)

	c.close()
	again := w.open(path)
	again.connect(false)
	if state, _ := again.State(); state != StateConnected {
		t.Errorf("state %q in the next session", state)
	}
}

// The peer writes first, encrypted to the state that was dropped.
func TestSafeStartPeerWritesFirst(t *testing.T) {
	w := newWorld(t)
	path, _, highest := staleCopy(t, w)
	w.sendText(w.other, w.own.PN(), "while you were gone")
	c := w.open(path)
	if err := c.PrepareSafe(testContext(t), PrepareSafe{MaxPreKeyID: highest}); err != nil {
		t.Fatal(err)
	}
	c.connect(true)
	c.awaitMessage("while you were gone")
	c.send(w.other.PN(), "here again")
	w.waitText(w.other, "here again")
	w.expectSound(c)
}

// Whoever wrote while nobody was there can't be asked again: the own phone has
// the message, and is asked once there is a Signal session with it.
func TestSafeStartAsksThePhone(t *testing.T) {
	w := newWorld(t)
	path, group, highest := staleCopy(t, w)
	witness := w.pairQR() // another device of the account, which gets everything from its sender
	w.sendText(w.other, w.own.PN(), "my last words")
	w.sendText(w.other, group, "to all of you")
	w.other.SetSilent(true)
	c := w.open(path)
	if err := c.PrepareSafe(testContext(t), PrepareSafe{MaxPreKeyID: highest}); err != nil {
		t.Fatal(err)
	}
	device := c.jid()
	keys := w.service.Faults().Hold(&device, watest.FromDevice, func(n *waBinary.Node) bool {
		_, asksForKeys := n.GetOptionalChildByTag("key")
		return n.Tag == "iq" && asksForKeys
	})
	connected := make(chan error, 1)
	go func() { connected <- c.Connect(testContext(t), true) }()
	if err := w.service.Wait(testContext(t), func() bool { return w.service.Counters().RetryReceipts >= 2 }); err != nil {
		t.Fatal(err)
	}
	keys.Remove()
	if err := <-connected; err != nil {
		t.Fatal(err)
	}
	c.awaitMessage("my last words")
	c.awaitMessage("to all of you")
	for _, text := range []string{"my last words", "to all of you"} {
		if got, want := c.awaitMessage(text).Origin, witness.awaitMessage(text).Origin; got != want {
			t.Errorf("%q from the phone is %s, from its sender %s: the application would be told twice", text, got, want)
		}
	}
	w.expectSound(c)
}

// A process that ends between the safe start and its last steps leaves them to the next.
func TestSafeStartIsFinishedLater(t *testing.T) {
	w := newWorld(t)
	path, _, highest := staleCopy(t, w)
	c := w.open(path)
	if err := c.PrepareSafe(testContext(t), PrepareSafe{MaxPreKeyID: highest}); err != nil {
		t.Fatal(err)
	}
	c.close()
	again := w.open(path)
	again.connect(false)
	if state, _ := again.State(); state != StateRestored {
		t.Errorf("state %q", state)
	}
	if info := w.service.Device(again.jid()); info.MaxPreKeyID <= highest+preKeyGap {
		t.Errorf("no fresh prekeys: highest is %d", info.MaxPreKeyID)
	}
	if _, ok, err := again.Inbox().Mark(t.Context(), markSafeStart); ok || err != nil {
		t.Errorf("still to be finished: %v, %v", ok, err)
	}
}

// A step that doesn't work is tried again, and no message flows before.
func TestSafeStartStepsAreRepeated(t *testing.T) {
	w := newWorld(t)
	path, _, highest := staleCopy(t, w)
	c := w.open(path)
	if err := c.PrepareSafe(testContext(t), PrepareSafe{MaxPreKeyID: highest}); err != nil {
		t.Fatal(err)
	}
	// The connection breaks at the upload, again and again.
	rule := w.service.Faults().CutOn(nil, watest.FromDevice, func(n *waBinary.Node) bool {
		set := n.GetChildByTag("skey")
		return n.Tag == "iq" && n.Attrs["xmlns"] == "encrypt" && set.Tag == "skey"
	})
	go func() {
		w.comes("two broken uploads", func() bool { return rule.Hits() >= 2 })
		if state, _ := c.State(); state.Live() {
			t.Errorf("state %q without fresh prekeys", state)
		}
		rule.Remove()
	}()
	c.connect(true)
	if info := w.service.Device(c.jid()); info.MaxPreKeyID <= highest+preKeyGap {
		t.Errorf("no fresh prekeys: highest is %d", info.MaxPreKeyID)
	}
}

func TestSafeStartNeedsPreparation(t *testing.T) {
	w := newWorld(t)
	c := w.pairQR()
	c.close()
	again := w.open(c.path)
	if err := again.Connect(testContext(t), true); err == nil {
		t.Error("safe start without preparation")
	}
	again.connect(false)
	if err := again.PrepareSafe(testContext(t), PrepareSafe{}); err == nil {
		t.Error("prepared while connected")
	}
}

// A restore on another machine, by capture's records: nothing is lost, and nothing that was shown is new again.
func TestRestoredFromRecords(t *testing.T) {
	w := newWorld(t)
	c := w.pairQR()
	id := w.sendText(w.other, w.own.PN(), "shown already")
	shown := c.awaitMessage("shown already")
	if _, err := c.Send(testContext(t), w.other.PN().String(), "paid", "order-1"); err != nil {
		t.Fatal(err)
	}
	var highest uint32
	if err := c.file.DB().QueryRowContext(t.Context(), `SELECT MAX(key_id) FROM whatsmeow_pre_keys`).Scan(&highest); err != nil {
		t.Fatal(err)
	}
	base, err := c.file.Base(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	c.send(w.other.PN(), "after the last push")
	w.waitText(w.other, "after the last push")
	c.close()
	w.sendText(w.other, w.own.PN(), "while nobody was there")

	restored := w.open(fileOf(t, base.Push))
	if !restored.Paired() {
		t.Fatal("no device in the restored file")
	}
	if err := restored.PrepareSafe(testContext(t), PrepareSafe{MaxPreKeyID: highest}); err != nil {
		t.Fatal(err)
	}
	restored.connect(true)
	restored.awaitMessage("while nobody was there")
	again := shown
	if isNew, err := restored.Inbox().Add(testContext(t), again); isNew || err != nil {
		t.Errorf("message %s is new again: %v, %v", id, isNew, err)
	}
	sent, err := restored.Send(testContext(t), w.other.PN().String(), "paid", "order-1")
	if err != nil || !sent.Repeated {
		t.Errorf("the send was repeated: %+v, %v", sent, err)
	}
	restored.send(w.other.PN(), "hello again")
	w.waitText(w.other, "hello again")
	w.expectSound(restored)
}

func TestInboxNumbersSkipAhead(t *testing.T) {
	w := newWorld(t)
	c := w.pairQR()
	w.sendText(w.other, w.own.PN(), "first")
	first := c.awaitMessage("first")
	c.close()
	again := w.open(c.path)
	if err := again.PrepareSafe(testContext(t), PrepareSafe{Epoch: 3}); err != nil {
		t.Fatal(err)
	}
	again.connect(true)
	w.sendText(w.other, w.own.PN(), "second")
	if second := again.awaitMessage("second"); second.Seq != 2<<30+1 {
		t.Errorf("numbers %d, %d", first.Seq, second.Seq)
	}
}

// The numbers that a safe start left out stay left out when the session goes on elsewhere, exactly, before any
// message has come: only rows are restored there, not the counter.
func TestInboxNumbersStayAhead(t *testing.T) {
	w := newWorld(t)
	c := w.pairQR()
	w.sendText(w.other, w.own.PN(), "first")
	first := c.awaitMessage("first")
	c.close()
	safe := w.open(c.path)
	if err := safe.PrepareSafe(testContext(t), PrepareSafe{Epoch: 2}); err != nil {
		t.Fatal(err)
	}
	base, err := safe.file.Base(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	safe.close()
	exact := w.open(fileOf(t, base.Push))
	second := first
	second.ID = "SECOND"
	if isNew, err := exact.Inbox().Add(testContext(t), second); err != nil || !isNew {
		t.Fatal(isNew, err)
	}
	list, err := exact.Inbox().Last(testContext(t), 1)
	if err != nil {
		t.Fatal(err)
	}
	if list[0].Seq != 1<<30+1 {
		t.Errorf("numbers %d, %d", first.Seq, list[0].Seq)
	}
}

func TestNextPreKeyID(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("CLOUDSESSION_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("CLOUDSESSION_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 2000 {
		highest := random.Uint32N(preKeyIDs)
		next := nextPreKeyID(PrepareSafe{MaxPreKeyID: highest})
		switch {
		case next > preKeyIDs-2*preKeyGap:
			t.Fatalf("%d after %d leaves no room", next, highest)
		case next <= highest && (highest < preKeyIDs-3*preKeyGap || next < lowFrom || next >= lowTo):
			t.Fatalf("%d after %d", next, highest)
		case next > highest && next != highest+preKeyGap:
			t.Fatalf("%d after %d", next, highest)
		}
		blind := nextPreKeyID(PrepareSafe{CredentialsOnly: true})
		if blind < blindFrom || blind >= blindTo {
			t.Fatalf("%d without a log", blind)
		}
	}
}

func TestPreKeyIDsStartLowNearTheEnd(t *testing.T) {
	w := newWorld(t)
	paired := w.pairQR()
	paired.close()
	c := w.open(paired.path)
	if err := c.PrepareSafe(testContext(t), PrepareSafe{MaxPreKeyID: preKeyIDs - 10}); err != nil {
		t.Fatal(err)
	}
	c.connect(true)
	if info := w.service.Device(c.jid()); info.MaxPreKeyID < lowFrom || info.MaxPreKeyID > lowTo+100 {
		t.Errorf("highest prekey at the service is %d", info.MaxPreKeyID)
	}
	w.sendText(w.other, w.own.PN(), "hello")
	c.awaitMessage("hello")
}
