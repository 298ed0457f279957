package baileys

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"

	"go.mau.fi/whatsmeow/proto/waAdv"
	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/store/sqlstore"
	"go.mau.fi/whatsmeow/types"
	_ "modernc.org/sqlite"
)

var (
	testJID = types.JID{User: "628120001000", Device: 7, Server: types.DefaultUserServer}
	testLID = types.JID{User: "162812000100023", Device: 7, Server: types.HiddenUserServer}
)

// newStore is whatsmeow's own store in an empty file.
func newStore(t *testing.T) (*sql.DB, *sqlstore.Container) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "session.db")+"?_pragma=foreign_keys(1)&_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	container := sqlstore.NewWithDB(db, "sqlite3", nil)
	t.Cleanup(func() {
		if err := container.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := container.Upgrade(t.Context()); err != nil {
		t.Fatal(err)
	}
	return db, container
}

// pairDevice saves a device as whatsmeow does when it has paired.
func pairDevice(t *testing.T, c *sqlstore.Container, lid types.JID) *store.Device {
	t.Helper()
	d := c.NewDevice()
	d.ID, d.LID = &testJID, lid
	d.Platform, d.PushName = "android", `Toko <☕> & "Kopi"`
	d.Account = &waAdv.ADVSignedDeviceIdentity{
		Details: random(20), AccountSignatureKey: random(32), AccountSignature: random(64), DeviceSignature: random(64),
	}
	must(t, d.Save(t.Context()))
	if lid.IsEmpty() {
		return d
	}
	must(t, c.LIDMap.PutLIDMapping(t.Context(), lid, testJID))
	account := lid
	account.Device = 0
	must(t, d.Identities.PutIdentity(t.Context(), account.SignalAddress().String(), [32]byte(d.Account.AccountSignatureKey)))
	return d
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// dump returns the rows of all whatsmeow tables that have some.
func dump(t *testing.T, db *sql.DB) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, table := range column(t, db, `SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'whatsmeow_%' AND name <> 'whatsmeow_version'`) {
		columns := ""
		for _, c := range column(t, db, `SELECT name FROM pragma_table_info(?)`, table) {
			columns += fmt.Sprintf(" || typeof(%[1]q) || ':' || quote(%[1]q) || ' '", c)
		}
		if rows := column(t, db, fmt.Sprintf("SELECT ''%s FROM %q ORDER BY 1", columns, table)); len(rows) > 0 {
			all[table] = rows
		}
	}
	return all
}

func column(t *testing.T, db *sql.DB, query string, args ...any) []string {
	t.Helper()
	rows, err := db.QueryContext(context.WithoutCancel(t.Context()), query, args...)
	must(t, err)
	defer func() { must(t, rows.Close()) }()
	var all []string
	for rows.Next() {
		var s string
		must(t, rows.Scan(&s))
		all = append(all, s)
	}
	must(t, rows.Err())
	return all
}

func sameKeys(a, b *store.Device) bool {
	return bytes.Equal(a.NoiseKey.Priv[:], b.NoiseKey.Priv[:]) && bytes.Equal(a.IdentityKey.Pub[:], b.IdentityKey.Pub[:])
}
