package baileys

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mau.fi/libsignal/ecc"
	"go.mau.fi/whatsmeow/proto/waAdv"
	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/store/sqlstore"
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/util/keys"
	"google.golang.org/protobuf/proto"
)

// pairSigned saves a device whose account is signed as at pairing, which a folder
// is checked for.
func pairSigned(t *testing.T, c *sqlstore.Container) *store.Device {
	t.Helper()
	d := c.NewDevice()
	d.ID, d.LID, d.Platform, d.PushName = &testJID, testLID, "android", "Toko"
	account := keys.NewKeyPair()
	details, err := proto.Marshal(&waAdv.ADVDeviceIdentity{RawID: new(uint32(7)), KeyIndex: new(uint32(3))})
	must(t, err)
	signature := ecc.CalculateSignature(ecc.NewDjbECPrivateKey(*account.Priv), slices.Concat([]byte{6, 0}, details, d.IdentityKey.Pub[:]))
	d.Account = &waAdv.ADVSignedDeviceIdentity{
		Details: details, AccountSignatureKey: account.Pub[:], AccountSignature: signature[:], DeviceSignature: random(64),
	}
	must(t, d.Save(t.Context()))
	must(t, c.LIDMap.PutLIDMapping(t.Context(), testLID, testJID))
	own := testLID.ToNonAD().SignalAddress().String()
	must(t, d.Identities.PutIdentity(t.Context(), own, *account.Pub))
	return d
}

// fillTables gives a device random rows in the tables that traffic with the
// simulated service leaves empty.
func fillTables(t *testing.T, r *rand.Rand, c *sqlstore.Container, d *store.Device) {
	t.Helper()
	ctx := t.Context()
	some := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	for i := range 3 + r.IntN(5) {
		fingerprint, err := proto.Marshal(&waE2E.AppStateSyncKeyFingerprint{RawID: new(r.Uint32()), CurrentIndex: new(uint32(i)), DeviceIndexes: []uint32{0, uint32(i)}})
		must(t, err)
		must(t, d.AppStateKeys.PutAppStateSyncKey(ctx, some(2+r.IntN(6)), store.AppStateSyncKey{Data: some(32), Fingerprint: fingerprint, Timestamp: r.Int64N(1 << 40)}))
		lid := types.JID{User: "30" + string(rune('0'+i)), Server: types.HiddenUserServer}
		must(t, c.LIDMap.PutLIDMapping(ctx, lid, types.JID{User: "621" + string(rune('0'+i)), Server: types.DefaultUserServer}))
		token := store.PrivacyToken{User: lid, Token: some(1 + r.IntN(30)), Timestamp: time.Unix(r.Int64N(1<<32), 0)}
		if r.IntN(2) == 0 {
			token.SenderTimestamp = time.Unix(r.Int64N(1<<32), 0)
		}
		must(t, d.PrivacyTokens.PutPrivacyTokens(ctx, token))
		address := types.JID{User: lid.User, Device: uint16(r.IntN(3)), Server: types.HiddenUserServer}.SignalAddress().String()
		must(t, d.Identities.PutIdentity(ctx, address, [32]byte(some(32))))
	}
	for _, name := range []string{"critical_block", "regular_high", "regular"} {
		version := r.Uint64N(1<<40) + 1
		must(t, d.AppState.PutAppStateVersion(ctx, name, version, [128]byte(some(128))))
		for range r.IntN(20) {
			must(t, d.AppState.PutAppStateMutationMACs(ctx, name, version, []store.AppStateMutationMAC{{IndexMAC: some(32), ValueMAC: some(32)}}))
		}
	}
	_, err := d.PreKeys.GetOrGenPreKeys(ctx, 5+r.Uint32N(5))
	must(t, err)
	must(t, d.PreKeys.MarkPreKeysAsUploaded(ctx, r.Uint32N(5)))
}

// Rows that Baileys has a place for come back equal.
func TestTablesRoundTrip(t *testing.T) {
	r := seed(t)
	for range 5 {
		from, container := newStore(t)
		device := pairSigned(t, container)
		fillTables(t, r, container, device)
		before := dump(t, from)
		dir := filepath.Join(t.TempDir(), "auth")
		_, err := Export(t.Context(), from, dir)
		must(t, err)
		folder, err := ReadFolder(os.DirFS(dir))
		must(t, err)
		if folder.MaxPreKeyID() == 0 || len(folder.Foreign()) != 0 || len(folder.Problems()) != 0 {
			t.Errorf("highest prekey %d, foreign %v, problems %v", folder.MaxPreKeyID(), folder.Foreign(), folder.Problems())
		}
		to, restored := newStore(t)
		_, err = Import(t.Context(), to, folder, Options{Exact: true})
		must(t, err)
		if diff := cmp.Diff(before, dump(t, to)); diff != "" {
			t.Errorf("rows (-before +after):\n%s", diff)
		}
		got, err := restored.GetFirstDevice(t.Context())
		must(t, err)
		if !sameKeys(got, device) {
			t.Error("whatsmeow loads another device")
		}
	}
}

// Of several value MACs of one index the newest counts, as in whatsmeow.
func TestNewestMutationMAC(t *testing.T) {
	from, container := newStore(t)
	d := pairSigned(t, container)
	must(t, d.AppState.PutAppStateVersion(t.Context(), "regular", 9, [128]byte{1}))
	index := random(32)
	for _, version := range []uint64{3, 9, 5} {
		must(t, d.AppState.PutAppStateMutationMACs(t.Context(), "regular", version, []store.AppStateMutationMAC{{IndexMAC: index, ValueMAC: append(make([]byte, 31), byte(version))}}))
	}
	dir := filepath.Join(t.TempDir(), "auth")
	_, err := Export(t.Context(), from, dir)
	must(t, err)
	folder, err := ReadFolder(os.DirFS(dir))
	must(t, err)
	to, restored := newStore(t)
	_, err = Import(t.Context(), to, folder, Options{Exact: true})
	must(t, err)
	device, err := restored.GetFirstDevice(t.Context())
	must(t, err)
	mac, err := device.AppState.GetAppStateMutationMAC(t.Context(), "regular", index)
	if err != nil || len(mac) != 32 || mac[31] != 9 {
		t.Errorf("mac %x, %v", mac, err)
	}
}

// What has no place in a folder is counted, and its cost said.
func TestExportSaysWhatIsLost(t *testing.T) {
	db, container := newStore(t)
	d := pairSigned(t, container)
	ctx := t.Context()
	chat := types.NewJID("621", types.DefaultUserServer)
	must(t, d.MsgSecrets.PutMessageSecret(ctx, chat, chat, "ID", random(32)))
	must(t, d.ChatSettings.PutPinned(ctx, chat, true))
	must(t, d.NCTSalt.PutNCTSalt(ctx, random(16)))
	_, _, err := d.Contacts.PutPushName(ctx, chat, "Budi")
	must(t, err)
	must(t, d.EventBuffer.PutBufferedEvent(ctx, [32]byte(random(32)), []byte("x"), time.Now()))
	must(t, d.EventBuffer.AddOutgoingEvent(ctx, chat, "ID", "", []byte("sent")))
	// Addresses that Baileys can't have.
	must(t, d.Identities.PutIdentity(ctx, "a-b:0", [32]byte{1}))
	must(t, d.Sessions.PutSession(ctx, "1_1:0", []byte("{}")))
	report, err := Export(ctx, db, filepath.Join(t.TempDir(), "auth"))
	must(t, err)
	var got []string
	for _, l := range report.Lost {
		if l.Count != 1 || l.Cost == "" {
			t.Errorf("loss: %+v", l)
		}
		got = append(got, l.What)
	}
	want := []string{
		"identity keys of addresses unknown to Baileys", "records that can't be read", "sent messages kept for retries", "message secrets",
		"hashes of messages already decrypted", "contacts", "chat settings", "salt for new contacts' tokens",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lost (-want +got):\n%s", diff)
	}
}
