package baileys

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.mau.fi/libsignal/groups"
	"go.mau.fi/libsignal/protocol"
	"go.mau.fi/libsignal/session"
	"go.mau.fi/libsignal/signalerror"
	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/types"
)

// recorded is a folder that Baileys 7.0.0-rc14 wrote with libsignal 6.0.0, for an
// account that doesn't exist. It has a session whose ratchet turned ten times, one
// that nobody answered yet, one under a phone number, one that replaced another,
// and a group.
const recorded = "testdata/node/folder"

// late is a message for the recorded session that had not arrived.
type late struct {
	Why, From, Type, Group, Text string
	Ciphertext                   []byte
}

func lateMessages(t *testing.T) []late {
	t.Helper()
	data, err := os.ReadFile("testdata/node/late.json")
	must(t, err)
	var all []late
	must(t, json.Unmarshal(data, &all))
	return all
}

func importRecorded(t *testing.T, exact bool) (*store.Device, Report) {
	t.Helper()
	db, container := newStore(t)
	folder, err := ReadFolder(os.DirFS(recorded))
	must(t, err)
	report, err := Import(t.Context(), db, folder, Options{Exact: exact})
	must(t, err)
	device, err := container.GetFirstDevice(t.Context())
	must(t, err)
	return device, report
}

// decrypt decrypts as whatsmeow does (message.go).
func (m late) decrypt(t *testing.T, d *store.Device) (string, error) {
	t.Helper()
	from, err := types.ParseJID(m.From)
	must(t, err)
	s := store.SignalProtobufSerializer
	if m.Group != "" {
		name := protocol.NewSenderKeyName(m.Group, from.SignalAddress())
		message, err := protocol.NewSenderKeyMessageFromBytes(m.Ciphertext, s.SenderKeyMessage)
		must(t, err)
		text, err := groups.NewGroupCipher(groups.NewGroupSessionBuilder(d, s), name, d).Decrypt(t.Context(), message)
		return string(text), err
	}
	builder := session.NewBuilderFromSignal(d, from.SignalAddress(), s)
	cipher := session.NewCipher(builder, from.SignalAddress())
	if m.Type == "pkmsg" {
		message, err := protocol.NewPreKeySignalMessageFromBytes(m.Ciphertext, s.PreKeySignalMessage, s.SignalMessage)
		must(t, err)
		text, err := cipher.DecryptMessage(t.Context(), message)
		return string(text), err
	}
	message, err := protocol.NewSignalMessageFromBytes(m.Ciphertext, s.SignalMessage)
	must(t, err)
	text, err := cipher.Decrypt(t.Context(), message)
	return string(text), err
}

// Every message that was under way when Node stopped can be read after an exact
// import: held back on a closed and on the open chain, on the next chain, the
// first answer to a session of ours, of an archived session, and in a group.
func TestRecordedFolderReadsLateMessages(t *testing.T) {
	device, _ := importRecorded(t, true)
	for _, m := range lateMessages(t) {
		if text, err := m.decrypt(t, device); err != nil || text != m.Text {
			t.Errorf("%s: %q, %v", m.Why, text, err)
		}
		if _, err := m.decrypt(t, device); err == nil {
			t.Errorf("%s: decrypted twice", m.Why)
		}
	}
}

// The same on the far side of a second move. What is not exact there, and only
// that, is the key of a skipped message of a pairwise session.
func TestRecordedFolderAfterRoundTrip(t *testing.T) {
	from, _ := newStore(t)
	folder, err := ReadFolder(os.DirFS(recorded))
	must(t, err)
	_, err = Import(t.Context(), from, folder, Options{Exact: true})
	must(t, err)
	dir := t.TempDir()
	report, err := Export(t.Context(), from, dir)
	must(t, err)
	want := []Loss{{What: "keys of skipped messages", Count: 3}}
	if diff := cmp.Diff(want, withoutCost(report.Lost)); diff != "" {
		t.Errorf("lost (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(expected(t, folderValues(t, recorded)), withoutOldChains(folderValues(t, dir))); diff != "" {
		t.Errorf("files (-expected +written):\n%s", diff)
	}

	again, err := ReadFolder(os.DirFS(dir))
	must(t, err)
	db, container := newStore(t)
	_, err = Import(t.Context(), db, again, Options{Exact: true})
	must(t, err)
	device, err := container.GetFirstDevice(t.Context())
	must(t, err)
	for _, m := range lateMessages(t) {
		text, err := m.decrypt(t, device)
		if lost := m.Why == "closed chain" || m.Why == "open chain"; lost != (err != nil) || !lost && text != m.Text {
			t.Errorf("%s: %q, %v", m.Why, text, err)
		}
		// whatsmeow drops what has an old counter, and confirms it.
		if errors.Is(err, signalerror.ErrOldCounter) {
			t.Errorf("%s is not asked for again: %v", m.Why, err)
		}
	}
}

func withoutCost(list []Loss) []Loss {
	var out []Loss
	for _, l := range list {
		out = append(out, Loss{What: l.What, Count: l.Count})
	}
	return out
}

// expected changes the recorded folder's values as FORMAT.md says that a round
// through whatsmeow's tables changes them, and only so.
func expected(t *testing.T, files map[string]any) map[string]any {
	t.Helper()
	withoutOldChains(files)
	creds := files[credsFile].(map[string]any)
	delete(creds, "lastPropHash")
	delete(creds, "routingInfo")
	creds["registered"] = true
	device := folderValues(t, recorded)[credsFile].(map[string]any)
	noise, err := base64.StdEncoding.DecodeString(device["noiseKey"].(map[string]any)["private"].(string))
	must(t, err)
	pairing, err := hkdf.Key(sha256.New, noise, nil, "cloudsession pairing", 32)
	must(t, err)
	text, err := json.Marshal(pair(pairing))
	must(t, err)
	creds["pairingEphemeralKeyPair"] = fileValue(t, "", text)

	for name, value := range files {
		switch kind, id, _ := splitName(name); kind {
		case kindDeviceList, kindSenderKeyMemory:
			delete(files, name)
		case kindSession:
			for _, s := range value.(map[string]any)["_sessions"].(map[string]any) {
				state := s.(map[string]any)
				if state["indexInfo"].(map[string]any)["closed"] == json.Number("-1") {
					files[fileName(kindIdentity, id)] = state["indexInfo"].(map[string]any)["remoteIdentityKey"]
				}
			}
		case kindSenderKey:
			files[name] = value.([]any)[:1] // the second state has the first one's id
		case kindToken:
			if value.(map[string]any)["token"] == "" {
				delete(files, name)
			}
		}
	}
	const group = "sender-key-120363000000000001@g.us--"
	files[group+"6281110000002--0.json"] = files[group+"162811100000002_1--0.json"]
	identity := creds["signalIdentities"].([]any)[0].(map[string]any)
	files[fileName(kindIdentity, "162811100000001_1.0")] = identity["identifierKey"]
	index := files[fileName(kindToken, tokenIndex)].(map[string]any)
	index["token"] = base64.StdEncoding.EncodeToString([]byte(`["162811100000002@lid","162811100000003@lid"]`))
	return files
}

// withoutOldChains leaves out the seeds of skipped messages' keys, which can't be
// carried, and the chains that are over, of which only the newest are kept: which
// those are an object's values don't tell.
func withoutOldChains(files map[string]any) map[string]any {
	for _, value := range files {
		record, _ := value.(map[string]any)
		sessions, _ := record["_sessions"].(map[string]any)
		for _, s := range sessions {
			chains := s.(map[string]any)["_chains"].(map[string]any)
			for name, c := range chains {
				chain := c.(map[string]any)
				chain["messageKeys"] = map[string]any{}
				if chain["chainKey"].(map[string]any)["key"] == nil {
					delete(chains, name)
				}
			}
		}
	}
	return files
}
