package watest_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/appstate"
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/types/events"

	"cloudsession/connector/watest"
)

func TestPairByQRAndTalk(t *testing.T) {
	s, addr := service(t)
	alice, bob := newPhone(t, s, "+62 811 1111 1111", "Alice"), newPhone(t, s, "+62 822 2222 2222", "Bob")
	c := pairQR(t, addr, alice)

	c.send(bob.PN(), "hello Bob")
	r := waitText(t, bob, "hello Bob")
	if r.SenderPN != alice.PN() || r.FromMe {
		t.Errorf("Bob sees sender %s, from me %v", r.SenderPN, r.FromMe)
	}
	if own := waitText(t, alice, "hello Bob"); !own.FromMe || own.Chat != bob.LID() {
		t.Errorf("Alice's phone sees %+v", own)
	}

	sendText(t, bob, alice.LID(), "hello Alice")
	if m := c.awaitText("hello Alice"); m.Info.Chat != bob.LID() || m.Info.SenderAlt != bob.PN() || m.Info.PushName != "Bob" {
		t.Errorf("client sees %+v", m.Info)
	}
	sendText(t, bob, alice.PN(), "and by number")
	if m := c.awaitText("and by number"); m.Info.Chat != bob.PN() || m.Info.SenderAlt != bob.LID() {
		t.Errorf("client sees %+v", m.Info)
	}
	sendText(t, alice, bob.LID(), "from my phone")
	if m := c.awaitText("from my phone"); !m.Info.IsFromMe || m.Info.Chat != bob.LID() {
		t.Errorf("client sees %+v", m.Info)
	}
	waitText(t, bob, "from my phone")
	expectSound(t, s)
}

func TestPairByCode(t *testing.T) {
	s, addr := service(t)
	alice, bob := newPhone(t, s, "6281111111111", "Alice"), newPhone(t, s, "6282222222222", "Bob")
	c := open(t, addr, filepath.Join(t.TempDir(), "alice.db"))
	if err := c.Connect(); err != nil {
		t.Fatal(err)
	}
	await[*events.QR](c, "QR code", nil)
	ctx := testContext(t)
	code, err := c.PairPhone(ctx, "+62 811-1111-1111", true, whatsmeow.PairClientChrome, "Chrome (Linux)")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := alice.EnterCode(ctx, "AAAA-AAAA"); !errors.Is(err, watest.ErrWrongCode) {
		t.Fatalf("wrong code gives %v", err)
	}
	jid, err := alice.EnterCode(ctx, strings.ToLower(code))
	if err != nil {
		t.Fatal(err)
	}
	await[*events.Connected](c, "connection after pairing", nil)
	if *c.Store.ID != jid {
		t.Fatalf("paired as %s, phone says %s", c.Store.ID, jid)
	}
	c.send(bob.LID(), "paired by code")
	waitText(t, bob, "paired by code")
	expectSound(t, s)
}

func TestThreeClientsTalk(t *testing.T) {
	s, addr := service(t)
	alice, bob := newPhone(t, s, "6281111111111", "Alice"), newPhone(t, s, "6282222222222", "Bob")
	home, work := pairQR(t, addr, alice), pairQR(t, addr, alice)
	peer := pairQR(t, addr, bob)
	if got := alice.Devices(); len(got) != 2 || got[0] != *home.Store.ID || got[1] != *work.Store.ID {
		t.Fatalf("Alice has devices %v", got)
	}

	home.send(bob.PN(), "from home")
	peer.awaitText("from home")
	waitText(t, bob, "from home")
	if m := work.awaitText("from home"); !m.Info.IsFromMe {
		t.Error("Alice's other client sees it as from somebody else")
	}
	peer.send(alice.PN(), "to both of you")
	home.awaitText("to both of you")
	work.awaitText("to both of you")
	waitText(t, alice, "to both of you")

	// A device linked later is seen by clients that had cached the list.
	late := pairQR(t, addr, alice)
	for _, c := range []*client{peer, home} {
		c.awaitDevice(*late.Store.ID, late.Store.LID)
	}
	peer.send(alice.LID(), "to all three")
	late.awaitText("to all three")
	home.send(bob.PN(), "others of mine, see this")
	late.awaitText("others of mine, see this")
	expectSound(t, s)
	if c := s.Counters(); c.MaxSocketsPerDevice != 1 || c.Replaced != 0 || c.Pairings != 4 {
		t.Errorf("counters: %+v", c)
	}
}

func TestQRRefusals(t *testing.T) {
	s, addr := service(t)
	alice := newPhone(t, s, "6281111111111", "Alice")
	ctx := testContext(t)
	if _, err := alice.ScanQR(ctx, "https://example.org/"); !errors.Is(err, watest.ErrBadQR) {
		t.Errorf("no code at all: %v", err)
	}
	c := open(t, addr, filepath.Join(t.TempDir(), "c.db"))
	if err := c.Connect(); err != nil {
		t.Fatal(err)
	}
	code := await[*events.QR](c, "QR code", nil).Codes[0]
	alice.RequirePasskey(true)
	if _, err := alice.ScanQR(ctx, code); !errors.Is(err, watest.ErrPasskey) {
		t.Errorf("account with a passkey: %v", err)
	}
	await[*events.PairPasskeyRequest](c, "passkey request", nil)
	alice.RequirePasskey(false)
	c.PrePairCallback = func(types.JID, string, string) bool { return false }
	// The request made the client choose another secret, which its codes do not show.
	code = await[*events.QR](c, "QR code", nil).Codes[0]
	if _, err := alice.ScanQR(ctx, code); !errors.Is(err, watest.ErrPairRefused) {
		t.Errorf("client refuses: %v", err)
	}
	c.Disconnect()
	waitFor(t, s, "socket ends", func() bool {
		_, err := alice.ScanQR(ctx, code)
		return errors.Is(err, watest.ErrQRNotLive)
	})
	if _, err := s.NewPhone("+6281111111111", "again"); !errors.Is(err, watest.ErrNumberTaken) {
		t.Errorf("same number: %v", err)
	}
	if _, err := s.NewPhone("12", "short"); !errors.Is(err, watest.ErrBadNumber) {
		t.Errorf("short number: %v", err)
	}
}

// What a client asks for while it starts over from old or partial state.
func TestQueriesOfARestore(t *testing.T) {
	s, addr := service(t)
	alice := newPhone(t, s, "6281111111111", "Alice")
	bob := newPhone(t, s, "6282222222222", "Bob")
	c := pairQR(t, addr, alice)
	ctx := testContext(t)

	before := s.Device(*c.Store.ID)
	if before.PreKeys != 812 || before.MaxPreKeyID != 812 || before.PreKeyUploads != 1 {
		t.Errorf("after pairing: %+v", before)
	}
	phone := c.Store.LID.ToNonAD()
	bundles, err := c.DangerousInternals().FetchPreKeys(ctx, []types.JID{phone}) //nolint:staticcheck // the only way to ask for exactly this
	if err != nil || len(bundles) != 1 {
		t.Errorf("own phone's bundle: %v, %d bundles", err, len(bundles))
	}
	for _, name := range appstate.AllPatchNames {
		if err := c.FetchAppState(ctx, name, true, false); err != nil {
			t.Errorf("app state %s: %v", name, err)
		}
	}
	// A client that has uploaded lately does not do so again; a new one does.
	c.Disconnect()
	again := open(t, addr, c.path)
	again.connect()
	again.DangerousInternals().UploadPreKeys(ctx, false) //nolint:staticcheck // the only way to ask for exactly this
	if after := s.Device(*again.Store.ID); after.PreKeyUploads != 2 || after.MaxPreKeyID != 812+50 || after.PreKeys != 812+50 {
		t.Errorf("after an upload: %+v", after)
	}
	c = again
	if info, err := c.GetUserInfo(ctx, []types.JID{bob.PN()}); err != nil || info[bob.PN()].LID != bob.LID() {
		t.Errorf("user info: %v, %+v", err, info)
	}
	on, err := c.IsOnWhatsApp(ctx, []string{"+6282222222222", "+6289999999999"})
	if err != nil || len(on) != 2 || !on[0].IsIn || on[0].JID != bob.LID() || on[0].PhoneNumber != bob.PN() || on[1].IsIn {
		t.Errorf("on WhatsApp: %v, %+v", err, on)
	}
	if got := c.GetPrivacySettings(ctx); got.ReadReceipts != types.PrivacySettingAll {
		t.Errorf("privacy settings: %+v", got)
	}
	var iqError *whatsmeow.IQError
	if _, err := c.GetProfilePictureInfo(ctx, bob.PN(), nil); !errors.As(err, &iqError) || iqError.Code != 501 {
		t.Errorf("unknown query: %v", err)
	}
}
