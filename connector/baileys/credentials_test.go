package baileys

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/types"
	"google.golang.org/protobuf/proto"
)

// What whatsmeow saved when it paired comes back row by row.
func TestRoundTrip(t *testing.T) {
	for name, lid := range map[string]types.JID{"with LID": testLID, "without LID": {}} {
		t.Run(name, func(t *testing.T) {
			from, container := newStore(t)
			device := pairDevice(t, container, lid)
			text, err := Credentials(t.Context(), from)
			must(t, err)

			to, restored := newStore(t)
			must(t, InsertDevice(t.Context(), to, text))
			if diff := cmp.Diff(dump(t, from), dump(t, to)); diff != "" {
				t.Errorf("rows (-saved +restored):\n%s", diff)
			}
			got, err := restored.GetFirstDevice(t.Context())
			must(t, err)
			if !sameKeys(got, device) || got.LID != lid || *got.ID != testJID {
				t.Error("whatsmeow loads another device")
			}
			again, err := Credentials(t.Context(), to)
			must(t, err)
			if diff := cmp.Diff(withoutTime(t, text), withoutTime(t, again)); diff != "" {
				t.Errorf("credentials differ:\n%s", diff)
			}
		})
	}
}

func withoutTime(t *testing.T, text []byte) map[string]any {
	t.Helper()
	var m map[string]any
	must(t, json.Unmarshal(text, &m))
	delete(m, "timestamp")
	return m
}

// The exact shape, since another program reads it.
func TestShape(t *testing.T) {
	db, container := newStore(t)
	d := pairDevice(t, container, testLID)
	must(t, d.AppStateKeys.PutAppStateSyncKey(t.Context(), []byte{0, 0, 1}, store.AppStateSyncKey{Data: random(32), Timestamp: 10, Fingerprint: []byte{}}))
	must(t, d.AppStateKeys.PutAppStateSyncKey(t.Context(), []byte{0, 0, 2}, store.AppStateSyncKey{Data: random(32), Timestamp: 20, Fingerprint: []byte{}}))
	text, err := credentials(t.Context(), db, time.UnixMilli(1769077845000))
	must(t, err)

	b64 := base64.StdEncoding.EncodeToString
	buf := func(b []byte) map[string]any { return map[string]any{"type": "Buffer", "data": b64(b)} }
	var got map[string]any
	must(t, json.Unmarshal(text, &got))
	creds := got["creds"].(map[string]any)
	if pairing, ok := creds["pairingEphemeralKeyPair"].(map[string]any); !ok || len(pairing) != 2 {
		t.Errorf("pairingEphemeralKeyPair is %v", creds["pairingEphemeralKeyPair"])
	}
	delete(creds, "pairingEphemeralKeyPair")
	want := map[string]any{
		"creds": map[string]any{
			"noiseKey":          map[string]any{"private": buf(d.NoiseKey.Priv[:]), "public": buf(d.NoiseKey.Pub[:])},
			"signedIdentityKey": map[string]any{"private": buf(d.IdentityKey.Priv[:]), "public": buf(d.IdentityKey.Pub[:])},
			"signedPreKey": map[string]any{
				"keyPair":   map[string]any{"private": buf(d.SignedPreKey.Priv[:]), "public": buf(d.SignedPreKey.Pub[:])},
				"signature": buf(d.SignedPreKey.Signature[:]), "keyId": 1.0,
			},
			"registrationId": float64(d.RegistrationID), "advSecretKey": b64(d.AdvSecretKey),
			"processedHistoryMessages": []any{}, "nextPreKeyId": 1.0, "firstUnuploadedPreKeyId": 1.0,
			"accountSyncCounter": 1.0, "accountSettings": map[string]any{"unarchiveChats": false}, "registered": true,
			"me": map[string]any{"id": "628120001000:7@s.whatsapp.net", "name": `Toko <☕> & "Kopi"`, "lid": "162812000100023:7@lid"},
			"account": map[string]any{
				"details": b64(d.Account.Details), "accountSignatureKey": b64(d.Account.AccountSignatureKey),
				"accountSignature": b64(d.Account.AccountSignature), "deviceSignature": b64(d.Account.DeviceSignature),
			},
			"signalIdentities": []any{map[string]any{
				"identifier":    map[string]any{"name": "162812000100023:7@lid", "deviceId": 0.0},
				"identifierKey": buf(append([]byte{5}, d.Account.AccountSignatureKey...)),
			}},
			"platform": "android", "myAppStateKeyId": "AAAC",
		},
		"timestamp": 1769077845000.0,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("credentials (-want +got):\n%s", diff)
	}
	again, err := credentials(t.Context(), db, time.UnixMilli(1769077845000))
	must(t, err)
	if string(again) != string(text) {
		t.Error("the same rows give other bytes")
	}
}

func TestPreKeyNumbers(t *testing.T) {
	db, container := newStore(t)
	d := pairDevice(t, container, testLID)
	check := func(next, first float64) {
		t.Helper()
		text, err := Credentials(t.Context(), db)
		must(t, err)
		c := withoutTime(t, text)["creds"].(map[string]any)
		if c["nextPreKeyId"] != next || c["firstUnuploadedPreKeyId"] != first {
			t.Errorf("next %v, first %v, want %v, %v", c["nextPreKeyId"], c["firstUnuploadedPreKeyId"], next, first)
		}
	}
	check(1, 1)
	preKeys, err := d.PreKeys.GetOrGenPreKeys(t.Context(), 30)
	must(t, err)
	check(31, 1)
	must(t, d.PreKeys.MarkPreKeysAsUploaded(t.Context(), 20))
	check(31, 21)
	must(t, d.PreKeys.MarkPreKeysAsUploaded(t.Context(), 30))
	check(31, 31)
	must(t, d.PreKeys.RemovePreKey(t.Context(), preKeys[3].KeyID))
	check(31, 31)
}

// legacyRow is one case of testdata/legacy-rows.json: what the Node service
// wrote, with Baileys' own initAuthCreds.
type legacyRow struct {
	SessionID string `json:"session_id"`
	Plaintext string
}

func legacyRows(t testing.TB) []legacyRow {
	t.Helper()
	data, err := os.ReadFile("testdata/legacy-rows.json")
	if err != nil {
		t.Fatal(err)
	}
	var rows []legacyRow
	if err := json.Unmarshal(data, &rows); err != nil {
		t.Fatal(err)
	}
	if len(rows) == 0 {
		t.Fatal("no rows")
	}
	return rows
}

func TestLegacyRows(t *testing.T) {
	for _, r := range legacyRows(t) {
		t.Run(r.SessionID, func(t *testing.T) {
			db, container := newStore(t)
			must(t, InsertDevice(t.Context(), db, []byte(r.Plaintext)))
			d, err := container.GetFirstDevice(t.Context())
			must(t, err)
			text, err := Credentials(t.Context(), db)
			must(t, err)
			want, got := withoutTime(t, []byte(r.Plaintext))["creds"].(map[string]any), withoutTime(t, text)["creds"].(map[string]any)
			for _, field := range []string{"noiseKey", "signedIdentityKey", "signedPreKey", "registrationId", "advSecretKey", "me", "account", "platform"} {
				if diff := cmp.Diff(want[field], got[field]); diff != "" {
					t.Errorf("%s (-Node +Go):\n%s", field, diff)
				}
			}
			id, err := Describe([]byte(r.Plaintext))
			must(t, err)
			if id.JID != d.ID.String() || id.LID != d.LID.String() || id.PushName != d.PushName || id.Platform != "android" {
				t.Errorf("described as %+v", id)
			}
		})
	}
}

func TestAppStateKey(t *testing.T) {
	text := edited(t, func(p map[string]any) {
		p["creds"].(map[string]any)["myAppStateKeyId"] = "AAAAAPEk"
		p["appState"] = map[string]any{
			"keyData":     "yv/FEv4jpSeCbg1CETsOKHfJKemY20yIM86TL7n9wXQ=",
			"fingerprint": map[string]any{"rawId": 12346, "currentIndex": 1, "deviceIndexes": []int{0, 1}}, "timestamp": "1769077811",
		}
	})
	db, container := newStore(t)
	must(t, InsertDevice(t.Context(), db, text))
	d, err := container.GetFirstDevice(t.Context())
	must(t, err)
	key, err := d.AppStateKeys.GetAppStateSyncKey(t.Context(), []byte{0, 0, 0, 0, 0xf1, 0x24})
	must(t, err)
	if key == nil || key.Timestamp != 1769077811 || len(key.Data) != 32 {
		t.Fatalf("key is %+v", key)
	}
	var f waE2E.AppStateSyncKeyFingerprint
	must(t, proto.Unmarshal(key.Fingerprint, &f))
	if f.GetRawID() != 12346 || f.GetCurrentIndex() != 1 || !cmp.Equal(f.DeviceIndexes, []uint32{0, 1}) {
		t.Errorf("fingerprint is %v", &f)
	}
}

// edited returns the first legacy plaintext after change.
func edited(t *testing.T, change func(map[string]any)) []byte {
	t.Helper()
	var p map[string]any
	must(t, json.Unmarshal([]byte(legacyRows(t)[0].Plaintext), &p))
	change(p)
	text, err := json.Marshal(p)
	must(t, err)
	return text
}

func TestBadCredentials(t *testing.T) {
	creds := func(change func(map[string]any)) []byte {
		return edited(t, func(p map[string]any) { change(p["creds"].(map[string]any)) })
	}
	set := func(field string, v any) []byte { return creds(func(c map[string]any) { c[field] = v }) }
	in := func(object, field string, v any) []byte {
		return creds(func(c map[string]any) { c[object].(map[string]any)[field] = v })
	}
	short := map[string]any{"type": "Buffer", "data": "AAAA"}
	for name, c := range map[string]struct {
		text []byte
		want error
	}{
		"empty":                    {nil, ErrDamaged},
		"not JSON":                 {[]byte("{"), ErrDamaged},
		"an array":                 {[]byte("[]"), ErrDamaged},
		"no creds":                 {[]byte(`{"timestamp":1}`), ErrDamaged},
		"no timestamp":             {edited(t, func(p map[string]any) { delete(p, "timestamp") }), ErrDamaged},
		"never paired":             {creds(func(c map[string]any) { delete(c, "me"); delete(c, "account") }), ErrUnpaired},
		"never confirmed":          {creds(func(c map[string]any) { delete(c, "account") }), ErrUnpaired},
		"me is null":               {set("me", nil), ErrUnpaired},
		"no key":                   {creds(func(c map[string]any) { delete(c, "noiseKey") }), ErrDamaged},
		"short private key":        {in("noiseKey", "private", short), ErrDamaged},
		"another public key":       {in("signedIdentityKey", "public", map[string]any{"type": "Buffer", "data": base64.StdEncoding.EncodeToString(make([]byte, 32))}), ErrDamaged},
		"key is no Buffer":         {in("noiseKey", "private", map[string]any{"type": "Blob", "data": "AAAA"}), ErrDamaged},
		"key is no base64":         {in("noiseKey", "private", map[string]any{"type": "Buffer", "data": "*"}), ErrDamaged},
		"short signature":          {in("signedPreKey", "signature", short), ErrDamaged},
		"signed prekey number":     {in("signedPreKey", "keyId", 1<<24), ErrDamaged},
		"registration id missing":  {creds(func(c map[string]any) { delete(c, "registrationId") }), ErrDamaged},
		"registration id negative": {set("registrationId", -1), ErrDamaged},
		"registration id as text":  {set("registrationId", "1"), ErrDamaged},
		"short secret":             {set("advSecretKey", "AAAA"), ErrDamaged},
		"no device number":         {in("me", "id", "628120001000@s.whatsapp.net"), ErrDamaged},
		"a group":                  {in("me", "id", "628120001000:7@g.us"), ErrDamaged},
		"LID is a phone number":    {in("me", "lid", "628120001000:7@s.whatsapp.net"), ErrDamaged},
		"short account key":        {in("account", "accountSignatureKey", "AAAA"), ErrDamaged},
		"no details":               {in("account", "details", ""), ErrDamaged},
		"short device signature":   {in("account", "deviceSignature", "AAAA"), ErrDamaged},
		"app-state key's timestamp": {edited(t, func(p map[string]any) {
			p["creds"].(map[string]any)["myAppStateKeyId"] = "AAAA"
			p["appState"] = map[string]any{"keyData": "AAAA", "timestamp": "x"}
		}), ErrDamaged},
	} {
		t.Run(name, func(t *testing.T) {
			db, _ := newStore(t)
			if err := InsertDevice(t.Context(), db, c.text); !errors.Is(err, c.want) {
				t.Errorf("InsertDevice: %v, want %v", err, c.want)
			}
			if _, err := Describe(c.text); !errors.Is(err, c.want) {
				t.Errorf("Describe: %v, want %v", err, c.want)
			}
			if _, err := Credentials(t.Context(), db); !errors.Is(err, ErrNoDevice) {
				t.Errorf("something was inserted: %v", err)
			}
		})
	}
}

// Baileys' and Node's other ways to write bytes, and a LID without device.
func TestOtherEncodings(t *testing.T) {
	var want map[string]any
	must(t, json.Unmarshal([]byte(legacyRows(t)[0].Plaintext), &want))
	raw, err := base64.StdEncoding.DecodeString(want["creds"].(map[string]any)["noiseKey"].(map[string]any)["private"].(map[string]any)["data"].(string))
	must(t, err)
	numbers := make([]int, len(raw))
	for i, b := range raw {
		numbers[i] = int(b)
	}
	text := edited(t, func(p map[string]any) {
		c := p["creds"].(map[string]any)
		c["noiseKey"].(map[string]any)["private"] = map[string]any{"type": "Buffer", "data": numbers}
		a := c["account"].(map[string]any)
		a["details"] = map[string]any{"type": "Buffer", "data": a["details"]}
		c["me"].(map[string]any)["lid"] = "162812000100023@lid"
	})
	one, _ := newStore(t)
	two, _ := newStore(t)
	must(t, InsertDevice(t.Context(), one, text))
	must(t, InsertDevice(t.Context(), two, []byte(legacyRows(t)[0].Plaintext)))
	if diff := cmp.Diff(dump(t, two), dump(t, one)); diff != "" {
		t.Errorf("rows differ:\n%s", diff)
	}
}

func TestInsertKeepsWhatIsThere(t *testing.T) {
	db, container := newStore(t)
	pairDevice(t, container, testLID)
	before := dump(t, db)
	if err := InsertDevice(t.Context(), db, []byte(legacyRows(t)[0].Plaintext)); !errors.Is(err, ErrDeviceExists) {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff(before, dump(t, db)); diff != "" {
		t.Errorf("rows changed:\n%s", diff)
	}
}

func TestCredentialsOfSeveralDevices(t *testing.T) {
	db, container := newStore(t)
	d := pairDevice(t, container, testLID)
	other := testJID
	other.Device = 8
	d.ID = &other
	must(t, container.PutDevice(t.Context(), d))
	if _, err := Credentials(t.Context(), db); !errors.Is(err, ErrManyDevices) {
		t.Errorf("error %v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, r := range legacyRows(f) {
		f.Add([]byte(r.Plaintext))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if _, err := Describe(text); err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrUnpaired) {
			t.Errorf("unnamed error %v", err)
		}
	})
}
