package baileys

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"go.mau.fi/libsignal/state/record"
	"go.mau.fi/whatsmeow/store"
)

// addRecorded seeds a fuzzer with the recorded files of a kind.
func addRecorded(f *testing.F, kind string) {
	f.Helper()
	paths, err := filepath.Glob(filepath.Join(recorded, kind+"*.json"))
	if err != nil || len(paths) == 0 {
		f.Fatal("no recorded files")
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
}

var fuzzSelf = selfOf(bytes.Repeat([]byte{8}, 32), 7)

// A session file either is refused or makes a record that whatsmeow's library
// loads, and that comes back as the same record.
func FuzzSession(f *testing.F) {
	addRecorded(f, kindSession)
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := parseRecord(data)
		if err != nil {
			return
		}
		row, _, err := r.toGo(fuzzSelf)
		if err != nil || row == nil {
			if err != nil {
				t.Fatal(err)
			}
			return
		}
		checkRow(t, row)
	})
}

// checkRow checks that a session row is sound and stable under a round.
func checkRow(t *testing.T, row []byte) {
	t.Helper()
	s := store.SignalProtobufSerializer
	if _, err := record.NewSessionFromBytes(row, s.Session, s.State); err != nil {
		t.Fatalf("whatsmeow's library: %v", err)
	}
	structure, err := sessionRow(row)
	must(t, err)
	node, _, err := toNode(structure, fuzzSelf, 1)
	must(t, err)
	text, err := json.Marshal(node)
	must(t, err)
	again, err := parseRecord(text)
	must(t, err)
	first, _, err := again.toGo(fuzzSelf)
	must(t, err)
	structure, err = sessionRow(first)
	must(t, err)
	node, left, err := toNode(structure, fuzzSelf, 1)
	must(t, err)
	if left.messageKeys != 0 {
		t.Error("message keys on the second round")
	}
	text, err = json.Marshal(node)
	must(t, err)
	again, err = parseRecord(text)
	must(t, err)
	second, _, err := again.toGo(fuzzSelf)
	must(t, err)
	if !bytes.Equal(first, second) {
		t.Errorf("changes on each round:\n%s", cmp.Diff(string(first), string(second)))
	}
}

// A row of whatsmeow's is refused or makes a session file that is read again.
func FuzzSessionRow(f *testing.F) {
	paths, err := filepath.Glob(filepath.Join(recorded, kindSession+"-*.json"))
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		r, err := parseRecord(data)
		if err != nil {
			f.Fatal(err)
		}
		row, _, err := r.toGo(fuzzSelf)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(row)
	}
	f.Fuzz(func(t *testing.T, row []byte) {
		structure, err := sessionRow(row)
		if err != nil {
			return
		}
		node, _, err := toNode(structure, fuzzSelf, 1)
		must(t, err)
		text, err := json.Marshal(node)
		must(t, err)
		if _, err := parseRecord(text); err != nil {
			t.Errorf("written and not read: %v", err)
		}
	})
}

func FuzzSenderKey(f *testing.F) {
	addRecorded(f, kindSenderKey+"-1")
	f.Fuzz(func(t *testing.T, data []byte) {
		states, err := parseSenderKey(data)
		if err != nil {
			return
		}
		row, _, err := senderKeyToGo(states)
		must(t, err)
		if row == nil {
			return
		}
		r, err := senderKeyRow(row)
		must(t, err)
		back, left := senderKeyToNode(r)
		text, err := encodeSenderKey(back)
		must(t, err)
		states, err = parseSenderKey(text)
		must(t, err)
		again, _, err := senderKeyToGo(states)
		must(t, err)
		if !bytes.Equal(row, again) || left.messageKeys != 0 {
			t.Errorf("changes on a round:\n%s", cmp.Diff(string(row), string(again)))
		}
	})
}

func FuzzSenderKeyRow(f *testing.F) {
	f.Add([]byte(`{"SenderKeyStates":[{"Keys":[],"KeyID":1,"SenderChainKey":{"Iteration":1,"ChainKey":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="},"SigningKeyPrivate":null,"SigningKeyPublic":"BYa5wT6DGcDbsrlwTkuADDaVIS9XApCy8VO8TyTgCzQ8"}]}`))
	f.Fuzz(func(t *testing.T, row []byte) {
		r, err := senderKeyRow(row)
		if err != nil {
			return
		}
		states, _ := senderKeyToNode(r)
		text, err := encodeSenderKey(states)
		must(t, err)
		if _, err := parseSenderKey(text); err != nil {
			t.Errorf("written and not read: %v", err)
		}
	})
}

// A folder with one file replaced is refused, with a sentence, or can be imported.
func FuzzFolder(f *testing.F) {
	entries, err := os.ReadDir(recorded)
	if err != nil {
		f.Fatal(err)
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(recorded, e.Name()))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(e.Name(), data)
	}
	all := recordedFiles(f)
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		files := maps.Clone(all)
		if !filepath.IsLocal(name) || strings.Contains(name, "/") || name == "." {
			return
		}
		files[name] = &fstest.MapFile{Data: data}
		folder, err := ReadFolder(files)
		if err != nil {
			if text := err.Error(); text == "" || strings.Contains(text, "\n") && !strings.Contains(name, "\n") {
				t.Errorf("no sentence: %q", text)
			}
			return
		}
		folder.Problems()
		for _, r := range folder.sessions {
			if row, _, err := r.toGo(fuzzSelf); err != nil {
				t.Error(err)
			} else if row != nil {
				checkRow(t, row)
			}
		}
		for _, states := range folder.senderKeys {
			if _, _, err := senderKeyToGo(states); err != nil {
				t.Error(err)
			}
		}
		folder.lids.pairs()
	})
}
