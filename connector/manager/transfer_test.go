package manager

import (
	"path/filepath"
	"testing"

	"go.mau.fi/whatsmeow/proto/waAdv"
	"go.mau.fi/whatsmeow/store/sqlstore"
	"go.mau.fi/whatsmeow/types"

	"cloudsession/connector/capture"
	"cloudsession/connector/sqlitefile"
)

// A device whose highest prekeys were used up elsewhere numbers on above them.
func TestImportedPreKeyNumbering(t *testing.T) {
	ctx := t.Context()
	file, err := capture.Open(ctx, filepath.Join(t.TempDir(), "import.db"), capture.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close() //nolint:errcheck // the test's own file
	container := sqlstore.NewWithDB(file.DB(), "sqlite3", nil)
	if err := container.Upgrade(ctx); err != nil {
		t.Fatal(err)
	}
	device := container.NewDevice()
	jid := types.NewADJID("628120001000", 0, 7)
	device.ID = &jid
	device.Account = &waAdv.ADVSignedDeviceIdentity{
		Details: []byte("details"), AccountSignatureKey: make([]byte, 32), AccountSignature: make([]byte, 64), DeviceSignature: make([]byte, 64),
	}
	if err := device.Save(ctx); err != nil {
		t.Fatal(err)
	}
	f := &staged{maxPreKey: 812}
	if err := f.keepNumbering(ctx, file, sqlitefile.Device{JID: jid, MaxPreKeyID: 30}); err != nil {
		t.Fatal(err)
	}
	next, err := device.PreKeys.GenOnePreKey(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if next.KeyID != 813 {
		t.Errorf("the next prekey is number %d, want 813", next.KeyID)
	}
	unsent, err := device.PreKeys.GetOrGenPreKeys(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(unsent) != 1 || unsent[0].KeyID == 812 {
		t.Errorf("to be uploaded: %v", unsent[0].KeyID)
	}
	if err := f.keepNumbering(ctx, file, sqlitefile.Device{JID: jid, MaxPreKeyID: 813}); err != nil {
		t.Errorf("nothing to keep: %v", err)
	}
}
