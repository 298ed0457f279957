package baileys

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// recordedFiles is the recorded folder in memory, to be spoilt.
func recordedFiles(t testing.TB) fstest.MapFS {
	t.Helper()
	files := fstest.MapFS{}
	entries, err := os.ReadDir(recorded)
	must(t, err)
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(recorded, e.Name()))
		must(t, err)
		files[e.Name()] = &fstest.MapFile{Data: data}
	}
	return files
}

// edit changes a JSON value in a file.
func edit(name string, change func(v map[string]any)) func(*testing.T, fstest.MapFS) {
	return func(t *testing.T, files fstest.MapFS) {
		t.Helper()
		var v map[string]any
		must(t, json.Unmarshal(files[name].Data, &v))
		change(v)
		data, err := json.Marshal(v)
		must(t, err)
		files[name] = &fstest.MapFile{Data: data}
	}
}

func put(name, data string) func(*testing.T, fstest.MapFS) {
	return func(_ *testing.T, files fstest.MapFS) { files[name] = &fstest.MapFile{Data: []byte(data)} }
}

func cut(name string) func(*testing.T, fstest.MapFS) {
	return func(_ *testing.T, files fstest.MapFS) {
		files[name].Data = files[name].Data[:len(files[name].Data)*2/3]
	}
}

const (
	bobsSession = "session-162811100000002_1.0.json"
	ownSender   = "sender-key-120363000000000001@g.us--162811100000001_1--7.json"
	otherKey    = "BYa5wT6DGcDbsrlwTkuADDaVIS9XApCy8VO8TyTgCzQ8"
)

// firstState returns the first session of a session file.
func firstState(v map[string]any) map[string]any {
	for _, s := range v["_sessions"].(map[string]any) {
		return s.(map[string]any)
	}
	return nil
}

// Each bad folder is refused with a sentence that names the file and the field.
func TestBadFolders(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*testing.T, fstest.MapFS)
		want  error
		text  string
	}{
		"no creds":        {func(_ *testing.T, f fstest.MapFS) { delete(f, credsFile) }, ErrNoCredentials, "creds.json is missing"},
		"cut creds":       {cut(credsFile), ErrDamaged, "creds.json ends in the middle"},
		"empty creds":     {put(credsFile, ""), ErrDamaged, "creds.json is empty"},
		"null creds":      {put(credsFile, "null"), ErrDamaged, "creds.json can't be used"},
		"unpaired":        {edit(credsFile, func(v map[string]any) { delete(v, "me") }), ErrUnpaired, "creds.json has no account"},
		"code not used":   {edit(credsFile, func(v map[string]any) { delete(v, "account") }), ErrUnpaired, "creds.json has no account"},
		"creds field":     {edit(credsFile, func(v map[string]any) { v["advSecretKey"] = "?!" }), ErrDamaged, "creds.json: advSecretKey"},
		"creds type":      {edit(credsFile, func(v map[string]any) { v["registrationId"] = "7" }), ErrDamaged, "creds.json: registrationId"},
		"other identity":  {edit(credsFile, swapIdentity), ErrMismatch, "creds.json: signedPreKey.signature was not made with signedIdentityKey (and 1 more)"},
		"other account":   {edit(credsFile, func(v map[string]any) { v["signalIdentities"] = otherIdentities() }), ErrMismatch, "creds.json: signalIdentities"},
		"other LID":       {put("lid-mapping-6281110000001.json", `"162811100000009"`), ErrMismatch, "lid-mapping-6281110000001.json names another LID"},
		"other number":    {put("lid-mapping-162811100000001_reverse.json", `"6281110000009"`), ErrMismatch, "names another number"},
		"phone's key":     {put("identity-key-162811100000001_1.0.json", `{"type":"Buffer","data":"`+otherKey+`"}`), ErrMismatch, "identity-key-162811100000001_1.0.json"},
		"phone's session": {func(_ *testing.T, f fstest.MapFS) { f["session-162811100000001_1.0.json"] = f[bobsSession] }, ErrMismatch, "session-162811100000001_1.0.json: indexInfo"},
		"cut session":     {cut(bobsSession), ErrDamaged, bobsSession + " ends in the middle"},
		"half session":    {func(_ *testing.T, f fstest.MapFS) { f[bobsSession].Data = append(f[bobsSession].Data, "}]}"...) }, ErrDamaged, bobsSession + " "},
		"zeros":           {put(bobsSession, strings.Repeat("\x00", 512)), ErrDamaged, bobsSession + " is not JSON"},
		"session key":     {edit(bobsSession, func(v map[string]any) { firstState(v)["currentRatchet"].(map[string]any)["rootKey"] = "AAAA" }), ErrDamaged, "currentRatchet.rootKey has 3 bytes instead of 32"},
		"session name":    {func(_ *testing.T, f fstest.MapFS) { f["session-162811100000002_1.00.json"] = f[bobsSession] }, ErrDamaged, "has a name"},
		"session version": {edit(bobsSession, func(v map[string]any) { v["version"] = "v2" }), ErrDamaged, "version is not v1"},
		"prekey":          {put("pre-key-1.json", `{"private":{"type":"Buffer","data":"AAAA"},"public":{"type":"Buffer","data":""}}`), ErrDamaged, "pre-key-1.json: private has 3 bytes"},
		"prekeys mixed":   {func(_ *testing.T, f fstest.MapFS) { swapPublic(f) }, ErrDamaged, "pre-key-1.json: public is not the public key of private"},
		"prekey id":       {func(_ *testing.T, f fstest.MapFS) { f["pre-key-16777216.json"] = f["pre-key-1.json"] }, ErrDamaged, "pre-key-16777216.json has a name"},
		"sender key":      {put(ownSender, `{"type":"Buffer","data":"W3tdCg=="}`), ErrDamaged, ownSender},
		"token":           {put("tctoken-1@lid.json", `{"token":{"type":"Buffer","data":"AA=="},"timestamp":"soon"}`), ErrDamaged, "tctoken-1@lid.json: timestamp"},
		"app state":       {put("app-state-sync-version-regular.json", `{"version":3,"hash":{"type":"Buffer","data":"AAAA"},"indexValueMap":{}}`), ErrDamaged, "hash has 3 bytes instead of 128"},
		"cut device list": {put("device-list-1.json", `["0"`), ErrDamaged, "device-list-1.json ends in the middle"},
	} {
		t.Run(name, func(t *testing.T) {
			files := recordedFiles(t)
			c.spoil(t, files)
			folder, err := ReadFolder(files)
			if !errors.Is(err, c.want) || folder != nil {
				t.Fatalf("%v, want %v", err, c.want)
			}
			if text := err.Error(); !strings.Contains(text, c.text) || strings.Contains(text, "\n") || strings.Contains(text, "AAAA") {
				t.Errorf("%q does not say %q", text, c.text)
			}
		})
	}
}

func swapIdentity(v map[string]any) {
	// The noise key pair fits in itself, and belongs to nothing else.
	v["signedIdentityKey"] = v["noiseKey"]
}

func otherIdentities() any {
	return []any{map[string]any{"identifier": map[string]any{"name": "x", "deviceId": 0}, "identifierKey": map[string]any{"type": "Buffer", "data": otherKey}}}
}

func swapPublic(f fstest.MapFS) {
	one, two := f["pre-key-1.json"], f["pre-key-2.json"]
	at := bytes.Index(one.Data, []byte(`,"public"`))
	f["pre-key-1.json"] = &fstest.MapFile{Data: append(bytes.Clone(one.Data[:at]), two.Data[bytes.Index(two.Data, []byte(`,"public"`)):]...)}
}

// All problems are found in one pass.
func TestEveryProblemIsNamed(t *testing.T) {
	files := recordedFiles(t)
	cut(credsFile)(t, files)
	cut(bobsSession)(t, files)
	cut("pre-key-2.json")(t, files)
	_, err := ReadFolder(files)
	bad, ok := errors.AsType[*FolderError](err)
	if !ok {
		t.Fatal(err)
	}
	var names []string
	for _, p := range bad.Problems {
		names = append(names, p.File)
	}
	if diff := cmp.Diff([]string{credsFile, "pre-key-2.json", bobsSession}, names); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if !strings.Contains(err.Error(), "(and 2 more)") {
		t.Errorf("text: %v", err)
	}
}

func TestForeignFilesAreListed(t *testing.T) {
	files := recordedFiles(t)
	files["README.md"] = &fstest.MapFile{Data: []byte("x")}
	files["baileys_store.json"] = &fstest.MapFile{Data: []byte("{")}
	files["media/photo.jpg"] = &fstest.MapFile{}
	files["session-link.json"] = &fstest.MapFile{Mode: fs.ModeSymlink}
	folder, err := ReadFolder(files)
	must(t, err)
	if diff := cmp.Diff([]string{"README.md", "baileys_store.json", "media", "session-link.json"}, folder.Foreign()); diff != "" {
		t.Errorf("foreign (-want +got):\n%s", diff)
	}
}

// Keys that creds.json counts on and that are missing stop an exact import only.
func TestMissingFilesStopExactImport(t *testing.T) {
	for name, missing := range map[string][]string{
		"newest app state key": {"app-state-sync-key-AAD__++____.json"},
		"unused prekey":        {"pre-key-13.json"},
	} {
		t.Run(name, func(t *testing.T) {
			files := recordedFiles(t)
			for _, file := range missing {
				if files[file] == nil {
					t.Fatalf("no %s", file)
				}
				delete(files, file)
			}
			folder, err := ReadFolder(files)
			must(t, err)
			if p := folder.Problems(); len(p) != 1 || p[0].File != missing[0] {
				t.Errorf("problems: %v", p)
			}
			db, _ := newStore(t)
			_, err = Import(t.Context(), db, folder, Options{Exact: true})
			if !errors.Is(err, ErrIncomplete) || !strings.Contains(err.Error(), missing[0]) {
				t.Errorf("exact: %v", err)
			}
			if rows := dump(t, db); len(rows) != 0 {
				t.Errorf("rows: %v", rows)
			}
			_, err = Import(t.Context(), db, folder, Options{})
			must(t, err)
		})
	}
}

// A safe import leaves behind what must not be used twice, and only that.
func TestSafeImport(t *testing.T) {
	folder, err := ReadFolder(os.DirFS(recorded))
	must(t, err)
	exact, _ := newStore(t)
	_, err = Import(t.Context(), exact, folder, Options{Exact: true})
	must(t, err)
	safe, _ := newStore(t)
	report, err := Import(t.Context(), safe, folder, Options{})
	must(t, err)
	want, got := dump(t, exact), dump(t, safe)
	delete(want, "whatsmeow_sessions")
	if len(got["whatsmeow_sender_keys"]) != 1 || len(want["whatsmeow_sender_keys"]) != 2 || strings.Contains(got["whatsmeow_sender_keys"][0], "162811100000001_1") {
		t.Errorf("sender keys: %d of %d", len(got["whatsmeow_sender_keys"]), len(want["whatsmeow_sender_keys"]))
	}
	want["whatsmeow_sender_keys"] = got["whatsmeow_sender_keys"]
	want["whatsmeow_identity_keys"] = got["whatsmeow_identity_keys"] // those of the sessions are missing
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rows (-exact +safe):\n%s", diff)
	}
	if report.Exact || report.Sessions != 0 || report.MaxPreKeyID != 14 || report.PreKeys != 11 {
		t.Errorf("report: %+v", report)
	}
	if len(got["whatsmeow_identity_keys"]) != 4 {
		t.Errorf("%d identities", len(got["whatsmeow_identity_keys"]))
	}
}

func TestImportKeepsAnExistingDevice(t *testing.T) {
	db, container := newStore(t)
	pairDevice(t, container, testLID)
	before := dump(t, db)
	folder, err := ReadFolder(os.DirFS(recorded))
	must(t, err)
	if _, err := Import(t.Context(), db, folder, Options{Exact: true}); !errors.Is(err, ErrDeviceExists) {
		t.Errorf("import: %v", err)
	}
	if diff := cmp.Diff(before, dump(t, db)); diff != "" {
		t.Errorf("rows changed:\n%s", diff)
	}
}

func TestExportKeepsAnExistingFolder(t *testing.T) {
	db, container := newStore(t)
	pairDevice(t, container, testLID)
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "creds.json"), []byte("mine"), 0o600))
	if _, err := Export(t.Context(), db, dir); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("export: %v", err)
	}
	file := filepath.Join(dir, "creds.json")
	if _, err := Export(t.Context(), db, file); err == nil {
		t.Error("export over a file")
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "mine" {
		t.Errorf("file: %q, %v", data, err)
	}

	// Nothing half written stays when a row can't be used.
	parent := t.TempDir()
	_, err := db.Exec(`INSERT INTO whatsmeow_app_state_sync_keys (jid, key_id, key_data, timestamp, fingerprint) SELECT jid, x'01', x'02', 3, x'FF' FROM whatsmeow_device`)
	must(t, err)
	if _, err := Export(t.Context(), db, filepath.Join(parent, "auth")); err == nil || !strings.Contains(err.Error(), "fingerprint") {
		t.Errorf("export: %v", err)
	}
	if entries, err := os.ReadDir(parent); err != nil || len(entries) != 0 {
		t.Errorf("left over: %v, %v", entries, err)
	}

	// Modes of a folder that is written.
	_, err = db.Exec(`DELETE FROM whatsmeow_app_state_sync_keys`)
	must(t, err)
	out := filepath.Join(parent, "deep", "auth")
	_, err = Export(t.Context(), db, out)
	must(t, err)
	info, err := os.Stat(out)
	must(t, err)
	creds, err := os.Stat(filepath.Join(out, credsFile))
	must(t, err)
	if info.Mode().Perm() != 0o700 || creds.Mode().Perm() != 0o600 {
		t.Errorf("modes %v, %v", info.Mode(), creds.Mode())
	}
}

// changing is a folder that somebody writes while it is read.
type changing struct{ fstest.MapFS }

func (c changing) Open(name string) (fs.File, error) {
	if name == bobsSession {
		c.MapFS["pre-key-99.json"] = c.MapFS["pre-key-1.json"]
	}
	return c.MapFS.Open(name)
}

func TestFolderInUse(t *testing.T) {
	if _, err := ReadFolder(changing{recordedFiles(t)}); !errors.Is(err, ErrInUse) {
		t.Errorf("read: %v", err)
	}
}

func TestFileNames(t *testing.T) {
	for _, n := range []senderKeyName{
		{"120363000000000001@g.us", address{"162811100000002", 1, 3}},
		{"6281-1600000000@g.us", address{"6281", 0, 0}},
		{"status@broadcast", address{"6281", 128, 99}},
	} {
		file := fileName(kindSenderKey, n.node())
		kind, id, ok := splitName(file)
		if got, ok2 := parseSenderKeyFile(id); !ok || !ok2 || kind != kindSenderKey || got != n {
			t.Errorf("%s: %s %+v", file, kind, got)
		}
	}
	for _, name := range []string{"1.0", "1_1.0", "1_129.99"} {
		if a, ok := parseNodeAddress(name); !ok || a.node() != name {
			t.Errorf("%s: %+v", name, a)
		}
	}
	for _, name := range []string{"", "1", "1.", "1_.0", "1_0.0", "1_256.0", "01_01.0", "1.00", "1.65536", "1-2.0", "../1.0"} {
		if a, ok := parseNodeAddress(name); ok {
			t.Errorf("%s: %+v", name, a)
		}
	}
}
