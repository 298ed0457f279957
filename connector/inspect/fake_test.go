package inspect

import (
	"context"
	"slices"
	"testing"
	"time"

	"cloudsession/shared/cloudstore"
	"cloudsession/shared/envelope"
	"cloudsession/shared/sessionlog"
)

const (
	testSecret  = "0123456789abcdef0123456789abcdef"
	otherSecret = "fedcba9876543210fedcba9876543210"
	testID      = "toko ☕"
)

// fakeStore holds one session's rows in memory. fail, if set, is asked before
// every call.
type fakeStore struct {
	owner    *cloudstore.Owner
	creds    []byte
	epochs   []cloudstore.Epoch // oldest first
	segments map[uint64][]cloudstore.Segment
	fail     func(method string) error
}

func (f *fakeStore) check(method string) error {
	if f.fail == nil {
		return nil
	}
	return f.fail(method)
}

func (f *fakeStore) Owner(context.Context, string) (cloudstore.Owner, error) {
	if err := f.check("Owner"); err != nil {
		return cloudstore.Owner{}, err
	}
	if f.owner == nil {
		return cloudstore.Owner{}, cloudstore.ErrNotFound
	}
	return *f.owner, nil
}

func (f *fakeStore) Credentials(context.Context, string) (cloudstore.Credentials, error) {
	if err := f.check("Credentials"); err != nil {
		return cloudstore.Credentials{}, err
	}
	if f.creds == nil {
		return cloudstore.Credentials{}, cloudstore.ErrNotFound
	}
	return cloudstore.Credentials{SessionID: testID, Data: f.creds}, nil
}

func (f *fakeStore) Epochs(context.Context, string) ([]cloudstore.Epoch, error) {
	newest := slices.Clone(f.epochs)
	slices.Reverse(newest)
	return newest, f.check("Epochs")
}

func (f *fakeStore) Lineage(_ context.Context, _ string, epoch uint64) ([]cloudstore.Epoch, error) {
	var line []cloudstore.Epoch
	for _, e := range slices.Backward(f.epochs) {
		if e.Epoch == epoch {
			line = append(line, e)
			epoch = e.ParentEpoch
		}
	}
	if epoch != 0 {
		return nil, cloudstore.ErrNotFound
	}
	return line, f.check("Lineage")
}

func (f *fakeStore) SegmentHeads(_ context.Context, _ string, epoch uint64) ([]cloudstore.Segment, error) {
	heads := slices.Clone(f.segments[epoch])
	for i := range heads {
		heads[i].Data = nil
	}
	return heads, f.check("SegmentHeads")
}

func (f *fakeStore) Segments(_ context.Context, _ string, epoch, from, to uint64) ([]cloudstore.Segment, error) {
	var rows []cloudstore.Segment
	for _, s := range f.segments[epoch] {
		if s.Seq >= from && s.Seq <= to {
			rows = append(rows, s)
		}
	}
	return rows, f.check("Segments")
}

// writer plays an owner.
type writer struct {
	t     *testing.T
	store *fakeStore
	keys  *envelope.Keyring
	at    sessionlog.Cursor
}

var testTime = time.Date(2026, 1, 22, 10, 30, 45, 0, time.UTC)

func (w *writer) take(epoch uint64, start string) {
	w.store.epochs = append(w.store.epochs, cloudstore.Epoch{
		SessionID: testID, Epoch: epoch, ParentEpoch: w.at.Epoch, ParentSeq: w.at.Seq, ConnectorID: "vm-1", Start: start, Reason: "test", StartedAt: testTime,
	})
	w.store.owner = &cloudstore.Owner{SessionID: testID, ConnectorID: "vm-1", Epoch: epoch, State: "connected", Backup: "full", Wanted: "open", SyncedAt: testTime}
	w.at = sessionlog.Cursor{Epoch: epoch, Tag: w.at.Tag}
}

func (w *writer) append(segs ...cloudstore.Segment) {
	for _, s := range segs {
		s.CreatedAt = testTime
		w.store.segments[s.Epoch] = append(w.store.segments[s.Epoch], s)
		if s.Kind.IsData() {
			w.at = sessionlog.Cursor{Epoch: s.Epoch, Seq: s.Seq, Tag: s.Tag}
		}
	}
}

func (w *writer) push(p sessionlog.Push) {
	w.t.Helper()
	b, err := p.Marshal()
	must(w.t, err)
	segs, err := sessionlog.Seal(w.keys, testID, envelope.Salt{1}, w.at, b, p.Base)
	must(w.t, err)
	w.append(segs...)
}

func (w *writer) seal() {
	w.t.Helper()
	seg, err := sessionlog.SealTerminator(w.keys, testID, envelope.Salt{1}, w.at)
	must(w.t, err)
	w.append(seg)
}

var (
	device   = sessionlog.Table{Name: "whatsmeow_device", Columns: []string{"jid", "push_name", "noise_key", "later_key"}, Key: []string{"jid"}}
	preKeys  = sessionlog.Table{Name: "whatsmeow_pre_keys", Columns: []string{"jid", "key_id", "key", "uploaded"}, Key: []string{"jid", "key_id"}}
	messages = sessionlog.Table{Name: "inbox_messages", Columns: []string{"seq", "chat", "text"}, Key: []string{"seq"}}
	unknown  = sessionlog.Table{Name: "whatsmeow_tomorrow", Columns: []string{"id", "v"}, Key: []string{"id"}}
)

const jid = "628120001000:7@s.whatsapp.net"

func preKey(table int, id int64) sessionlog.Record {
	return sessionlog.Record{Table: table, Key: []any{jid, id}, Row: []any{jid, id, []byte("SECRET-KEY-OF-A-PREKEY"), int64(1)}}
}

// newSession is a session with two terms: a sealed one and one that goes on.
func newSession(t *testing.T) (*fakeStore, *envelope.Keyring) {
	t.Helper()
	keys := newKeyring(t, testSecret)
	store := &fakeStore{segments: map[uint64][]cloudstore.Segment{}}
	w := &writer{t: t, store: store, keys: keys}
	w.take(1, cloudstore.StartNew)
	w.push(sessionlog.Push{
		Base: true, SchemaVersion: 15, Tables: []sessionlog.Table{device, preKeys, messages, unknown},
		Records: []sessionlog.Record{
			{Table: 0, Key: []any{jid}, Row: []any{jid, "Toko", []byte("SECRET-NOISE-KEY"), []byte("SECRET-OF-A-LATER-SCHEMA")}},
			preKey(1, 1), preKey(1, 2), preKey(1, 10),
			{Table: 2, Key: []any{int64(1)}, Row: []any{int64(1), "chat@s.whatsapp.net", "SECRET-MESSAGE"}},
			{Table: 3, Key: []any{"SECRET-ID"}, Row: []any{"SECRET-ID", 1.5}},
		},
	})
	w.push(sessionlog.Push{SchemaVersion: 15, Tables: []sessionlog.Table{preKeys}, Records: []sessionlog.Record{
		{Table: 0, Key: []any{jid, int64(2)}}, preKey(0, 3),
	}})
	w.seal()
	w.take(3, cloudstore.StartExact)
	w.push(sessionlog.Push{SchemaVersion: 15, Tables: []sessionlog.Table{preKeys}, Records: []sessionlog.Record{preKey(0, 4)}})

	data, _, err := keys.Seal(envelope.KindCredentials, false, envelope.CredentialsPosition(testID), envelope.Salt{1}, legacyPlaintext(t))
	must(t, err)
	store.creds = data
	return store, keys
}

func newKeyring(t *testing.T, secrets ...string) *envelope.Keyring {
	t.Helper()
	k, err := envelope.NewKeyring(secrets[0], secrets[1:]...)
	must(t, err)
	return k
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
