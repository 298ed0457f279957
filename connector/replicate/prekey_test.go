package replicate

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"
	"time"

	"cloudsession/shared/cloudstore"
	"cloudsession/shared/envelope"
	"cloudsession/shared/sessionlog"
)

// key stores a prekey of whatsmeow's under an id.
func (l *live) key(id int) {
	l.Helper()
	_, err := l.file.DB().ExecContext(l.ctx(),
		"INSERT INTO whatsmeow_pre_keys (jid, key_id, key, uploaded) SELECT jid, ?, randomblob(32), true FROM whatsmeow_device", id)
	l.must(err)
}

func TestHighestPreKey(t *testing.T) {
	onBoth(t, func(t *testing.T, c cloud) {
		g := newRig(t, c, func(o *Options) { o.GroupBytes = 1 << 20 })
		l := g.pair("personal", 1)
		l.key(900)
		l.flush()
		l.key(1000)
		l.flush()
		_, err := l.file.DB().ExecContext(t.Context(), "DELETE FROM whatsmeow_pre_keys WHERE key_id = 1000")
		g.must(err)
		l.flush()
		if _, _, found := g.restored(l.id, StartSafe); found.MaxPreKeyID != 1000 {
			t.Errorf("a deleted key of id 1000: highest %d", found.MaxPreKeyID)
		}
	})
}

// TestHighestPreKeyOfUnfinishedPush: the first part of a push that was cut off names an id.
func TestHighestPreKeyOfUnfinishedPush(t *testing.T) {
	for _, base := range []bool{false, true} {
		g := newRig(t, newMemory(), func(o *Options) {
			o.GroupBytes, o.Coalesce = 1<<20, time.Hour // nothing is pushed before it is waited for
		})
		l := g.pair("personal", 1)
		l.flush()
		// The first part arrives; once the second was tried again nobody waits any more.
		ctx, giveUp := context.WithCancel(g.limit())
		defer giveUp()
		appends := 0
		g.store.set(func(_ context.Context, op string, _ []string) fault {
			if op == "append" {
				appends++
			}
			if appends > 2 {
				giveUp()
			}
			if appends > 1 {
				return lost
			}
			return fine
		})
		for i := range 40 { // identity keys come before prekeys, sessions behind them
			g.must(l.ops.Device.Identities.PutIdentity(t.Context(), string(rune('a'+i)), [32]byte(noise(32))))
		}
		l.key(5000)
		l.bulk(3<<20, 0)
		do := l.repl.WaitDurable
		if base {
			do = func(ctx context.Context) error { return l.repl.Rebase(ctx, false) }
		}
		if err := do(ctx); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		g.crash()
		g.store.set(nil)
		if _, _, found := g.restored(l.id, StartSafe); found.MaxPreKeyID != 5000 {
			t.Errorf("base=%v: highest %d", base, found.MaxPreKeyID)
		}
	}
}

// TestHighestPreKeyBehindFence: a push that came too late names an id as well. Keys are derived for no
// more salts than a log may have, however many rows there are.
func TestHighestPreKeyBehindFence(t *testing.T) {
	m := newMemory()
	g := newRig(t, m)
	l := g.pair("personal", 1)
	l.flush()
	// The statement of a stale owner lands behind the fence: all of it is readable, none counts.
	after := l.repl.Status().Cursor
	g.take(l.id, false, func(cloudstore.Parent) string { return StartSafe })
	late := func(salt envelope.Salt, id int64) {
		t.Helper()
		after.Seq++
		p := sessionlog.Push{Base: true, Tables: []sessionlog.Table{{Name: "whatsmeow_pre_keys", Columns: []string{"jid", "key_id"}, Key: []string{"jid", "key_id"}}}}
		p.Records = []sessionlog.Record{{Key: []any{"x", id}, Row: []any{"x", id}}}
		plain, err := p.Marshal()
		g.must(err)
		segs, err := sessionlog.Seal(g.keys, l.id, salt, after, plain, true)
		g.must(err)
		if o, err := m.AppendSegments(t.Context(), segs); err != nil || o[0] != cloudstore.Durable {
			t.Fatal(o, err)
		}
	}
	late(l.repl.salt, 7777)
	for id := range int64(5) {
		late(envelope.NewSalt(), 8000+id)
	}
	if _, _, found := g.restored(l.id, StartSafe); found.MaxPreKeyID != 8000 {
		t.Errorf("highest %d", found.MaxPreKeyID)
	}
}

const legacyPlain = `{"creds":{"registrationId":7},"timestamp":1769077845000}`

// legacyRow is a row as the Node service wrote it: see envelope's SPEC.md.
func legacyRow(t *testing.T, id string) []byte {
	key, err := pbkdf2.Key(sha256.New, id+secret, []byte("whiskeysocket"), 100_000, 32)
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	iv, pad := noise(16), 16-len(legacyPlain)%16
	text := append([]byte(legacyPlain), bytes.Repeat([]byte{byte(pad)}, pad)...)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(text, text)
	return fmt.Appendf(nil, "%x:%x", iv, text)
}

func TestLegacyCredentials(t *testing.T) {
	m := newMemory()
	g := newRig(t, m)
	m.creds["personal"] = cloudstore.Credentials{SessionID: "personal", Data: legacyRow(t, "personal")}
	taken, _, found := g.restored("personal", StartSafe)
	if !found.CredentialsOnly || found.Salt == (envelope.Salt{}) || string(found.Credentials) != legacyPlain {
		t.Errorf("restored %+v (%s)", found, found.Credentials)
	}
	other, err := envelope.NewKeyring("quite another secret, 0123456789abcdef")
	g.must(err)
	if _, err := Restore(t.Context(), g.store, other, taken, t.TempDir()+"/x.db"); !errors.Is(err, envelope.ErrLegacy) || errors.Is(err, ErrNothing) {
		t.Errorf("with another secret: %v", err)
	}
	delete(m.creds, "personal")
	if _, err := Restore(t.Context(), g.store, g.keys, taken, t.TempDir()+"/x.db"); !errors.Is(err, ErrNothing) {
		t.Errorf("without a row: %v", err)
	}
}
