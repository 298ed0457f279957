package inspect

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cloudsession/shared/cloudstore"
	"cloudsession/shared/envelope"
	"cloudsession/shared/sessionlog"
)

type legacyRow struct {
	SessionID   string `json:"session_id"`
	Secret      string
	SessionData string `json:"session_data"`
	Plaintext   string
}

func legacy(t *testing.T) legacyRow {
	t.Helper()
	data, err := os.ReadFile("../../shared/envelope/testdata/legacy-rows.json")
	must(t, err)
	var rows []legacyRow
	must(t, json.Unmarshal(data, &rows))
	return rows[0]
}

func legacyPlaintext(t *testing.T) []byte {
	t.Helper()
	return []byte(legacy(t).Plaintext)
}

func TestList(t *testing.T) {
	store, _ := newSession(t)
	store.epochs = slices.Insert(store.epochs, 1, cloudstore.Epoch{SessionID: testID, Epoch: 2, ParentEpoch: 1, ParentSeq: 2, ConnectorID: "vm-2", Start: "safe", StartedAt: testTime})
	store.segments[2] = []cloudstore.Segment{{SessionID: testID, Epoch: 2, Seq: 1, Kind: cloudstore.KindFence, Part: 1, Parts: 1, CreatedAt: testTime}}
	log, err := List(t.Context(), store, testID)
	must(t, err)
	var text bytes.Buffer
	must(t, log.Text(&text))
	tags := map[string]string{}
	for e, rows := range store.segments {
		for _, r := range rows {
			tags[fmt.Sprintf("%d/%d", e, r.Seq)] = fmt.Sprintf("%x", r.Tag)[:16]
		}
	}
	at := "2026-01-22T10:30:45Z"
	want := []string{
		"session toko ☕", "owner vm-1", "epoch 3", "state connected", "backup full", "credentials sealed",
		"", "epoch 3 follows 1/2 start exact vm-1 " + at + " test",
		"1 delta part 1 of 1 " + tags["3/1"] + " " + at,
		"", "epoch 2, not in the lineage follows 1/2 start safe vm-2 " + at,
		"1 fence part 1 of 1 0000000000000000 " + at,
		"", "epoch 1 follows - start new vm-1 " + at + " test",
		"1 base part 1 of 1 " + tags["1/1"] + " " + at,
		"2 delta part 1 of 1 " + tags["1/2"] + " " + at,
		"3 seal part 1 of 1 " + tags["1/3"] + " " + at,
	}
	if diff := cmp.Diff(want, squeeze(text.String())); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
}

// squeeze returns the lines of a text with single spaces.
func squeeze(text string) []string {
	var lines []string
	for line := range strings.Lines(text) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return lines
}

func TestVerifyWhole(t *testing.T) {
	store, keys := newSession(t)
	r, err := Verify(t.Context(), store, keys, testID)
	must(t, err)
	if !r.OK || len(r.Faults) != 0 || len(r.Notes) != 0 || r.Identity == nil || r.Identity.JID != "628120001000:7@s.whatsapp.net" {
		t.Errorf("report %+v", r)
	}
	want := LogReport{Rows: 3, Bytes: r.Log.Bytes, Pushes: 3, Bases: 1, Records: 9, FromEpoch: 1, FromSeq: 1, LastEpoch: 3, LastSeq: 1}
	if diff := cmp.Diff(want, r.Log); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	var text bytes.Buffer
	must(t, r.Text(&text))
	if !slices.Contains(squeeze(text.String()), "verdict whole") {
		t.Errorf("text:\n%s", &text)
	}
	r, err = Verify(t.Context(), store, newKeyring(t, otherSecret, testSecret), testID)
	must(t, err)
	if !r.OK || len(r.Notes) != 1 {
		t.Errorf("with a newer secret: %+v", r)
	}
}

func TestVerifyNamesFaults(t *testing.T) {
	for name, c := range map[string]struct {
		where, code string
		change      func(*fakeStore)
	}{
		"flipped bit":          {"log", "altered", func(f *fakeStore) { f.segments[1][1].Data[50] ^= 1 }},
		"flipped bit in seal":  {"log", "altered", func(f *fakeStore) { f.segments[1][2].Data[50] ^= 1 }},
		"missing":              {"log", "missing", func(f *fakeStore) { f.segments[1] = f.segments[1][:1] }},
		"missing epoch":        {"log", "missing", func(f *fakeStore) { f.epochs = f.epochs[1:] }},
		"repeated":             {"log", "repeated", func(f *fakeStore) { f.segments[1] = slices.Insert(f.segments[1], 1, f.segments[1][0]) }},
		"reordered":            {"log", "reordered", func(f *fakeStore) { slices.Reverse(f.segments[1][:2]) }},
		"other session":        {"log", "other_session", func(f *fakeStore) { f.segments[1][1].SessionID = "other" }},
		"version":              {"log", "unknown_version", func(f *fakeStore) { f.segments[1][1].Data[3] = 9 }},
		"credentials altered":  {"credentials", "altered", func(f *fakeStore) { f.creds[60] ^= 1 }},
		"credentials moved":    {"credentials", "altered", func(f *fakeStore) { f.creds = f.segments[1][0].Data }},
		"credentials gone":     {"credentials", "missing", func(f *fakeStore) { f.creds = nil }},
		"credentials overrun":  {"credentials", "altered", func(f *fakeStore) { f.creds = []byte("hello") }},
		"wrong secret of Node": {"credentials", "wrong_secret_or_damaged", func(f *fakeStore) { f.creds = []byte(strings.Repeat("0a", 16) + ":" + strings.Repeat("0b", 32)) }},
	} {
		t.Run(name, func(t *testing.T) {
			store, keys := newSession(t)
			c.change(store)
			r, err := Verify(t.Context(), store, keys, testID)
			must(t, err)
			if r.OK || len(r.Faults) != 1 || r.Faults[0].Where != c.where || r.Faults[0].Code != c.code {
				t.Errorf("report %+v, want a fault %s in %s", r, c.code, c.where)
			}
			var text bytes.Buffer
			must(t, r.Text(&text))
			if !strings.Contains(text.String(), "DAMAGED") || !strings.Contains(text.String(), c.code) {
				t.Errorf("text:\n%s", &text)
			}
		})
	}
}

func TestWrongSecret(t *testing.T) {
	store, _ := newSession(t)
	keys := newKeyring(t, otherSecret)
	r, err := Verify(t.Context(), store, keys, testID)
	must(t, err)
	if r.OK || len(r.Faults) != 2 || r.Faults[0].Code != "wrong_secret" || r.Faults[1].Code != "wrong_secret" {
		t.Errorf("report %+v", r)
	}
	if _, err := Dump(t.Context(), store, keys, testID); !errors.Is(err, envelope.ErrUnknownKey) {
		t.Errorf("dump: %v", err)
	}
}

func TestDump(t *testing.T) {
	store, keys := newSession(t)
	state, err := Dump(t.Context(), store, keys, testID)
	must(t, err)
	var text bytes.Buffer
	must(t, state.Text(&text))
	want := []string{
		"session toko ☕", "log ends at epoch 3 seq 1", "schema version 15", "credentials sealed",
		"device 628120001000:7@s.whatsapp.net 162812000100023:7@lid",
		"", "inbox_messages (1 rows)", "seq chat text", "1 chat@s.whatsapp.net [text, 14 bytes]",
		"", "whatsmeow_device (1 rows)", "jid push_name noise_key later_key", jid + " Toko [blob, 16 bytes] [blob, 24 bytes]",
		"", "whatsmeow_pre_keys (4 rows)", "jid key_id key uploaded",
		jid + " 1 [blob, 22 bytes] 1", jid + " 3 [blob, 22 bytes] 1", jid + " 4 [blob, 22 bytes] 1", jid + " 10 [blob, 22 bytes] 1",
		"", "whatsmeow_tomorrow (1 rows)", "id v", "[text, 9 bytes] [number]",
	}
	if diff := cmp.Diff(want, squeeze(text.String())); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
	asJSON, err := json.Marshal(state)
	must(t, err)
	if shown := string(asJSON) + text.String() + fmt.Sprintf("%v %+v %#v", state, state, state); strings.Contains(shown, "SECRET") {
		t.Errorf("a secret is shown:\n%s", shown)
	}
	if !strings.Contains(string(asJSON), `["`+jid+`",3,{"redacted":"blob","bytes":22},1]`) {
		t.Errorf("JSON:\n%s", asJSON)
	}
}

func TestDumpReadsFromTheLastBase(t *testing.T) {
	store, keys := newSession(t)
	w := &writer{t: t, store: store, keys: keys}
	last := store.segments[3][0]
	w.at = sessionlog.Cursor{Epoch: 3, Seq: 1, Tag: last.Tag}
	w.take(4, cloudstore.StartSafe)
	w.push(sessionlog.Push{Base: true, SchemaVersion: 16, Tables: []sessionlog.Table{device}})
	store.segments[1][0].Data[50] ^= 1 // needed no more
	state, err := Dump(t.Context(), store, keys, testID)
	must(t, err)
	if state.SchemaVersion != 16 || len(state.Tables) != 1 || len(state.Tables[0].Rows) != 0 {
		t.Errorf("state %v", state)
	}
	if r, err := Verify(t.Context(), store, keys, testID); err != nil || r.OK {
		t.Errorf("verify overlooks the damaged row: %+v, %v", r, err)
	}
}

// A dump shows what a restore would bring back, and fails where that is refused.
func TestDumpOfALogWithoutBase(t *testing.T) {
	store, keys := newSession(t)
	for epoch, rows := range store.segments {
		store.segments[epoch] = slices.DeleteFunc(rows, func(row cloudstore.Segment) bool { return row.Kind == cloudstore.KindBase })
	}
	if state, err := Dump(t.Context(), store, keys, testID); err == nil {
		t.Errorf("deltas whose base is gone pass for credentials alone: %+v", state)
	}
}

func TestNodeRowOnly(t *testing.T) {
	row := legacy(t)
	store := &fakeStore{creds: []byte(row.SessionData)}
	keys := newKeyring(t, row.Secret)
	log, err := List(t.Context(), store, row.SessionID)
	must(t, err)
	if log.Credentials != CredentialsNode || len(log.Epochs) != 0 {
		t.Errorf("log %+v", log)
	}
	r, err := Verify(t.Context(), store, keys, row.SessionID)
	must(t, err)
	if !r.OK || r.Identity == nil || r.Credentials != CredentialsNode {
		t.Errorf("report %+v", r)
	}
	state, err := Dump(t.Context(), store, keys, row.SessionID)
	must(t, err)
	if state.Identity == nil || len(state.Tables) != 0 {
		t.Errorf("state %+v", state)
	}
}

func TestDeletedSession(t *testing.T) {
	store, keys := newSession(t)
	store.creds = nil
	store.segments = map[uint64][]cloudstore.Segment{3: {{SessionID: testID, Epoch: 3, Seq: 2, Kind: cloudstore.KindDeleted, Part: 1, Parts: 1}}}
	r, err := Verify(t.Context(), store, keys, testID)
	must(t, err)
	if !r.OK || r.Credentials != CredentialsNone || r.Log.Rows != 0 {
		t.Errorf("report %+v", r)
	}
}

// A failed read is never "no such session".
func TestStoreErrors(t *testing.T) {
	down := errors.New("connection refused")
	calls := map[string]func(*fakeStore, *envelope.Keyring) error{
		"List": func(f *fakeStore, _ *envelope.Keyring) error { _, err := List(t.Context(), f, testID); return err },
		"Verify": func(f *fakeStore, k *envelope.Keyring) error {
			_, err := Verify(t.Context(), f, k, testID)
			return err
		},
		"Dump": func(f *fakeStore, k *envelope.Keyring) error { _, err := Dump(t.Context(), f, k, testID); return err },
	}
	failed := map[string]int{}
	for name, call := range calls {
		for _, method := range []string{"Owner", "Credentials", "Epochs", "Lineage", "SegmentHeads", "Segments"} {
			store, keys := newSession(t)
			used := false
			store.fail = func(m string) error {
				if m != method {
					return nil
				}
				used = true
				return down
			}
			err := call(store, keys)
			if used && (!errors.Is(err, down) || errors.Is(err, ErrUnknownSession)) {
				t.Errorf("%s with %s failing: %v", name, method, err)
			}
			if used {
				failed[method]++
			}
		}
		empty := &fakeStore{}
		if err := call(empty, newKeyring(t, testSecret)); !errors.Is(err, ErrUnknownSession) {
			t.Errorf("%s of an unknown session: %v", name, err)
		}
	}
	if len(failed) != 6 {
		t.Errorf("methods used: %v", failed)
	}
}

// A reader that goes away in the middle is reported.
func TestTextReportsWriteErrors(t *testing.T) {
	store, keys := newSession(t)
	log, err := List(t.Context(), store, testID)
	must(t, err)
	report, err := Verify(t.Context(), store, keys, testID)
	must(t, err)
	state, err := Dump(t.Context(), store, keys, testID)
	must(t, err)
	for name, text := range map[string]func() error{
		"log":    func() error { return log.Text(failingWriter{}) },
		"report": func() error { return report.Text(failingWriter{}) },
		"state":  func() error { return state.Text(failingWriter{}) },
	} {
		if err := text(); !errors.Is(err, errClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

var errClosed = errors.New("pipe is closed")

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errClosed }
