package noderows

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudsession/infra/local/tidbtest"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/envelope"
)

const (
	ourSecret  = "0123456789abcdef0123456789abcdef"
	nodeSecret = "what the Node service was given"
)

// vector is a row that Node's own crypto and Baileys' own initAuthCreds made.
type vector struct {
	SessionID   string `json:"session_id"`
	Secret      string `json:"secret"`
	SessionData string `json:"session_data"`
	Plaintext   string `json:"plaintext"`
}

func vectors(t *testing.T) []vector {
	t.Helper()
	data, err := os.ReadFile("../../shared/envelope/testdata/legacy-rows.json")
	must(t, err)
	var rows []vector
	must(t, json.Unmarshal(data, &rows))
	return rows
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// linked is a vector's plaintext as it is after pairing, unlinked as before.
func linked(t *testing.T, plaintext string) []byte {
	t.Helper()
	return change(t, plaintext, func(creds map[string]any) {
		creds["me"] = map[string]any{"id": "628120001000:7@s.whatsapp.net", "name": "Toko", "lid": "162812000100023:7@lid"}
		b64 := func(n int) any { return bytes.Repeat([]byte{7}, n) } // encoding/json writes base64
		creds["account"] = map[string]any{"details": b64(10), "accountSignatureKey": b64(32), "accountSignature": b64(64), "deviceSignature": b64(64)}
	})
}

func unlinked(t *testing.T, plaintext string) []byte {
	t.Helper()
	return change(t, plaintext, func(creds map[string]any) {
		delete(creds, "me")
		delete(creds, "account")
	})
}

func change(t *testing.T, plaintext string, f func(creds map[string]any)) []byte {
	t.Helper()
	var row map[string]any
	must(t, json.Unmarshal([]byte(plaintext), &row))
	f(row["creds"].(map[string]any))
	text, err := json.Marshal(row)
	must(t, err)
	return text
}

// nodeRow seals as the Node service does.
func nodeRow(t *testing.T, session, secret string, plaintext []byte) string {
	t.Helper()
	key, err := pbkdf2.Key(sha256.New, session+secret, []byte("whiskeysocket"), 100_000, 32)
	must(t, err)
	block, err := aes.NewCipher(key)
	must(t, err)
	iv := make([]byte, aes.BlockSize)
	_, _ = rand.Read(iv) // never fails
	pad := aes.BlockSize - len(plaintext)%aes.BlockSize
	padded := append(bytes.Clone(plaintext), bytes.Repeat([]byte{byte(pad)}, pad)...)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(padded, padded)
	return hex.EncodeToString(iv) + ":" + hex.EncodeToString(padded)
}

// table is a database with the rows of a Node service.
type table struct {
	t     *testing.T
	store *cloudstore.Store
	db    *sql.DB
}

func newTable(t *testing.T) *table {
	t.Helper()
	cfg := tidbtest.Start(t)
	cfg.Timeout = 2 * time.Minute // of a busy machine
	store, err := cloudstore.Open(cfg)
	must(t, err)
	must(t, store.Migrate(t.Context()))
	db := tidbtest.Open(t, cfg)
	t.Cleanup(func() { must(t, store.Close()) })
	return &table{t, store, db}
}

func (tb *table) put(session, data string) {
	tb.t.Helper()
	const insert = `INSERT INTO whatsapp_sessions (session_id, session_data, last_synced_at, created_at, updated_at)
		VALUES (?, ?, '2026-01-22 10:30:45', '2026-01-20 08:15:30', '2026-01-22 10:30:45')`
	_, err := tb.db.ExecContext(tb.t.Context(), insert, session, data)
	must(tb.t, err)
}

// all returns every row's data and times.
func (tb *table) all() map[string]string {
	tb.t.Helper()
	rows, err := tb.db.QueryContext(tb.t.Context(), `SELECT session_id, session_data, CONCAT_WS(' ', last_synced_at, created_at, updated_at) FROM whatsapp_sessions`)
	must(tb.t, err)
	defer rows.Close() //nolint:errcheck // rows.Err reports what matters
	m := map[string]string{}
	for rows.Next() {
		var id, data, times string
		must(tb.t, rows.Scan(&id, &data, &times))
		m[id] = data + " " + times
	}
	must(tb.t, rows.Err())
	return m
}

func keyring(t *testing.T, previous ...string) *envelope.Keyring {
	t.Helper()
	keys, err := envelope.NewKeyring(ourSecret, previous...)
	must(t, err)
	return keys
}

// One row of each kind: those that can be used are sealed with their times kept,
// the others stay byte by byte, each with its reason.
func TestImport(t *testing.T) {
	tb, v := newTable(t), vectors(t)
	good := linked(t, v[0].Plaintext)
	tb.put("personal", nodeRow(t, "personal", nodeSecret, good))
	tb.put("toko ☕", nodeRow(t, "toko ☕", nodeSecret, linked(t, v[1].Plaintext)))
	tb.put("unpaired", nodeRow(t, "unpaired", nodeSecret, unlinked(t, v[2].Plaintext)))
	tb.put(v[1].SessionID, v[1].SessionData) // under a secret of its own
	tb.put("rubbish", "no row of anybody")
	tb.put("default", nodeRow(t, "default", envelope.LegacyDefaultSecret, good))
	tb.put("taken", nodeRow(t, "taken", nodeSecret, good))
	_, err := tb.db.ExecContext(t.Context(), `UPDATE whatsapp_sessions SET epoch = 3, updated_at = updated_at WHERE session_id = 'taken'`)
	must(t, err)
	before := tb.all()

	reasons := map[string]string{
		"unpaired": "never linked", v[1].SessionID: "no secret opens it", "rubbish": "neither sealed nor", "default": "no secret opens it",
		"taken": "a connector has taken it",
	}
	check := func(sum Summary, err error, sealed, sealedBefore int, reasons map[string]string) {
		t.Helper()
		must(t, err)
		if sum.Sealed != sealed || sum.Before != sealedBefore || len(sum.Problems) != len(reasons) {
			t.Errorf("summary: %+v", sum)
		}
		for _, p := range sum.Problems {
			if want := reasons[p.SessionID]; want == "" || !strings.Contains(p.Reason, want) {
				t.Errorf("%s: %q, want %q", p.SessionID, p.Reason, want)
			}
		}
	}
	sum, err := Import(t.Context(), tb.store, keyring(t, nodeSecret), Options{DryRun: true})
	check(sum, err, 2, 0, reasons)
	if diff := cmp.Diff(before, tb.all()); diff != "" {
		t.Errorf("a dry run changed rows:\n%s", diff)
	}
	sum, err = Import(t.Context(), tb.store, keyring(t), Options{})
	wrong := map[string]string{"personal": "no secret", "toko ☕": "no secret", "unpaired": "no secret"}
	for id, reason := range reasons {
		if wrong[id] == "" {
			wrong[id] = reason
		}
	}
	check(sum, err, 0, 0, wrong)
	if diff := cmp.Diff(before, tb.all()); diff != "" {
		t.Errorf("a wrong secret changed rows:\n%s", diff)
	}

	seen := 0
	sum, err = Import(t.Context(), tb.store, keyring(t, nodeSecret), Options{Progress: func() { seen++ }})
	check(sum, err, 2, 0, reasons)
	if seen != len(before) {
		t.Errorf("progress told of %d rows instead of %d", seen, len(before))
	}
	for id, row := range tb.all() {
		_, left := reasons[id]
		const times = len("2026-01-22 10:30:45 2026-01-20 08:15:30 2026-01-22 10:30:45")
		if sameTimes := row[len(row)-times:] == before[id][len(before[id])-times:]; !sameTimes || left != (row == before[id]) {
			t.Errorf("%s: changed %t, times kept %t", id, row != before[id], sameTimes)
		}
	}
	sum, err = Import(t.Context(), tb.store, keyring(t, nodeSecret, envelope.LegacyDefaultSecret), Options{})
	delete(reasons, "default")
	check(sum, err, 1, 2, reasons)

	c, err := tb.store.Credentials(t.Context(), "personal")
	must(t, err)
	opened, err := keyring(t).Open(envelope.CredentialsPosition("personal"), c.Data)
	must(t, err)
	if !bytes.Equal(opened.Plaintext, good) {
		t.Error("the sealed row holds something else")
	}
}

// A row that the Node service, or a connector, changes in the moment between is
// not overwritten.
func TestChangedMeanwhile(t *testing.T) {
	tb, v := newTable(t), vectors(t)
	tb.put("personal", nodeRow(t, "personal", nodeSecret, linked(t, v[0].Plaintext)))
	newer := nodeRow(t, "personal", nodeSecret, linked(t, v[1].Plaintext))
	sum, err := Import(t.Context(), changing{tb, newer}, keyring(t, nodeSecret), Options{})
	must(t, err)
	if sum.Sealed != 0 || len(sum.Problems) != 1 {
		t.Errorf("summary: %+v", sum)
	}
	if got := tb.all()["personal"]; !strings.HasPrefix(got, newer) {
		t.Error("the newer row was overwritten")
	}
}

// changing writes a row anew just before it is sealed.
type changing struct {
	*table
	newer string
}

func (c changing) Rows(ctx context.Context, visit func(cloudstore.Row) error) error {
	return c.store.Rows(ctx, visit)
}

func (c changing) Reseal(ctx context.Context, r cloudstore.Row, data []byte) error {
	if _, err := c.db.ExecContext(ctx, `UPDATE whatsapp_sessions SET session_data = ? WHERE id = ?`, c.newer, r.ID); err != nil {
		return err
	}
	return c.store.Reseal(ctx, r, data)
}
