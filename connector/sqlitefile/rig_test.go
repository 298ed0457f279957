package sqlitefile

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.mau.fi/whatsmeow/proto/waAdv"
	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/store/sqlstore"
	"go.mau.fi/whatsmeow/types"
	_ "modernc.org/sqlite"

	"cloudsession/connector/capture/capturetest"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// seed is CLOUDSESSION_SEED, or a new one; the test says which.
func seed(t *testing.T) uint64 {
	t.Helper()
	n := uint64(time.Now().UnixNano())
	if text := os.Getenv("CLOUDSESSION_SEED"); text != "" {
		var err error
		n, err = strconv.ParseUint(text, 10, 64)
		must(t, err)
	}
	t.Logf("CLOUDSESSION_SEED=%d", n)
	return n
}

// openDB opens a file as bots do, with whatsmeow's tables.
func openDB(t *testing.T, path string) (*sql.DB, *sqlstore.Container) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=foreign_keys(1)&_pragma=journal_mode(wal)&_pragma=synchronous(off)&_txlock=immediate")
	must(t, err)
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	container := sqlstore.NewWithDB(db, "sqlite3", nil)
	must(t, container.Upgrade(t.Context()))
	return db, container
}

// device saves the n-th device of a file.
func device(t *testing.T, c *sqlstore.Container, n int) *store.Device {
	t.Helper()
	d := c.NewDevice()
	jid := types.JID{User: fmt.Sprintf("62811000000%d", n), Device: uint16(n), Server: types.DefaultUserServer}
	d.ID, d.LID = &jid, types.JID{User: fmt.Sprintf("16281100000000%d", n), Device: uint16(n), Server: types.HiddenUserServer}
	d.Platform, d.PushName, d.BusinessName = "android", fmt.Sprintf("Toko ☕ %d", n), "Kopi"
	d.Account = &waAdv.ADVSignedDeviceIdentity{
		Details: []byte{8, byte(n)}, AccountSignatureKey: make([]byte, 32), AccountSignature: make([]byte, 64), DeviceSignature: make([]byte, 64),
	}
	must(t, d.Save(t.Context()))
	must(t, c.LIDMap.PutLIDMapping(t.Context(), d.LID, jid))
	return d
}

// fill gives devices rows in all tables by random calls of whatsmeow's own store.
func fill(t *testing.T, db *sql.DB, seed uint64, devices ...*store.Device) {
	t.Helper()
	for i, d := range devices {
		ops, err := capturetest.NewOps(t.Context(), db, seed+uint64(i))
		must(t, err)
		ops.Device = d
		for range 3 {
			for _, name := range capturetest.Names() {
				if strings.Contains(name, "DeleteDevice") || strings.Contains(name, "Pair") || name == "PutDevice" {
					continue
				}
				must(t, ops.Run(t.Context(), name))
			}
		}
	}
}

// dump returns the rows of whatsmeow's tables in comparable form.
func dump(t *testing.T, db *sql.DB) map[string][]string {
	t.Helper()
	all, err := capturetest.Dump(context.WithoutCancel(t.Context()), db)
	must(t, err)
	for name, rows := range all {
		if len(rows) == 0 {
			delete(all, name)
		}
	}
	return all
}

// of keeps the rows that name a device as their owner.
func of(all map[string][]string, jid types.JID) map[string][]string {
	out := map[string][]string{}
	for name, rows := range all {
		for _, row := range rows {
			if strings.HasPrefix(row, "jid='"+jid.String()+"' ") || strings.HasPrefix(row, "our_jid='"+jid.String()+"' ") {
				out[name] = append(out[name], row)
			}
		}
	}
	return out
}

// folderState names a folder's files with their contents, modes and times.
func folderState(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	all := map[string]string{}
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		info, err := e.Info()
		must(t, err)
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		must(t, err)
		all[e.Name()] = fmt.Sprintf("%x %v %v", sha256.Sum256(data), info.Mode(), info.ModTime())
	}
	return all
}
