package manager

import (
	"bytes"
	"context"
	"database/sql"
	"log/slog"
	"testing"
	"time"

	"go.mau.fi/whatsmeow/proto/waAdv"
	"go.mau.fi/whatsmeow/store/sqlstore"
	"go.mau.fi/whatsmeow/types"

	"cloudsession/connector/baileys"
	"cloudsession/connector/replicate"
	"cloudsession/connector/watest"
	"cloudsession/connector/whatsapp"
	"cloudsession/shared/envelope"
)

// longStop is how long a stop may take on a machine that may be busy.
const longStop = 2 * time.Minute

// unhurried lets a manager's sessions end in the time that a busy machine takes.
func unhurried(m *Manager) {
	m.stopTime = longStop
	m.grace = whatsapp.Grace{Handlers: longStop, Record: longStop}
}

// furnished is an office that opens sessions. The service can't be reached.
func furnished(t *testing.T) *office {
	t.Helper()
	o := newOffice(t)
	keys, err := envelope.NewKeyring("a secret of this test, 0123456789abcdef")
	if err != nil {
		t.Fatal(err)
	}
	r := replicate.New(o.m.opt.Store, keys, replicate.Options{Credentials: baileys.Credentials, Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(r.Close)
	o.m.opt.Keys, o.m.opt.Replicator = keys, r
	unhurried(o.m)
	o.m.opt.Endpoint = whatsapp.Endpoint{Addr: "127.0.0.1:9", RootKey: watest.TestRootKey}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), longStop)
		defer cancel()
		if err := o.m.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return o
}

// linkDevice puts into a session file what the phone's answer to a QR code does.
func linkDevice(t *testing.T, db *sql.DB) {
	t.Helper()
	container := sqlstore.NewWithDB(db, "sqlite3", nil)
	device := container.NewDevice()
	jid := types.NewADJID("6281122223333", 0, 7)
	device.ID, device.LID = &jid, types.NewADJID("100000000000001", 0, 7)
	device.LID.Server = types.HiddenUserServer
	device.Account = &waAdv.ADVSignedDeviceIdentity{
		Details: []byte{1}, AccountSignatureKey: bytes.Repeat([]byte{2}, 32),
		AccountSignature: bytes.Repeat([]byte{3}, 64), DeviceSignature: bytes.Repeat([]byte{4}, 64),
	}
	if err := container.PutDevice(t.Context(), device); err != nil {
		t.Fatal(err)
	}
}

// eventually asks again and again until a condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	limit, tick := time.After(5*time.Minute), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("never: %s", what)
		}
	}
}
