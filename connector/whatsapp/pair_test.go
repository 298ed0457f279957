package whatsapp

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/types"
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

// Nobody scans the first code in its time: the next one replaces it, and links.
func TestPairByTheSecondQRCode(t *testing.T) {
	w := newWorld(t)
	c := w.open(filepath.Join(t.TempDir(), "session.db"))
	c.qr = qrTimes{first: time.Millisecond, next: time.Hour}
	events, err := c.Pair(testContext(t), PairRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var kinds []PairEventKind
	for e := range events {
		kinds = append(kinds, e.Kind)
		if e.Kind != PairQR {
			continue
		}
		c.shown = append(c.shown, e.Text)
		if len(c.shown) == 2 {
			if _, err := w.own.ScanQR(testContext(t), e.Text); err != nil {
				t.Fatal(err)
			}
		}
	}
	if diff := cmp.Diff([]PairEventKind{PairQR, PairQR, PairSuccess}, kinds); diff != "" {
		t.Fatalf("events (-want +got):\n%s", diff)
	}
	if c.shown[0] == c.shown[1] {
		t.Error("the second code is the first one again")
	}
	c.send(w.other.PN(), "by the second code")
	w.waitText(w.other, "by the second code")
}

// A connection has six codes. When they are used up a new connection brings new ones.
func TestQRCodesAreRenewed(t *testing.T) {
	w := newWorld(t)
	c := w.open(filepath.Join(t.TempDir(), "session.db"))
	c.qr = qrTimes{first: time.Millisecond, next: time.Millisecond}
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	events, err := c.Pair(ctx, PairRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var last PairEvent
	for e := range events {
		last = e
		if e.Kind != PairQR {
			continue
		}
		if slices.Contains(c.shown, e.Text) {
			t.Errorf("code %d was shown before", len(c.shown)+1)
		}
		if c.shown = append(c.shown, e.Text); len(c.shown) == 8 {
			cancel()
		}
	}
	if len(c.shown) < 8 || last.Kind != PairTimeout {
		t.Errorf("%d codes were shown; the last event is %q, %v", len(c.shown), last.Kind, last.Err)
	}
	if c.Paired() || c.count("whatsmeow_device") != 0 {
		t.Error("a device is left behind")
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
