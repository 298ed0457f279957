package whatsapp

import (
	"testing"

	"go.mau.fi/whatsmeow/types"
)

// The address that a message is known by is the service's, with or without a device, and the LID wherever it stands.
func TestAsWritten(t *testing.T) {
	lid, pn := types.NewJID("123", types.HiddenUserServer), types.NewJID("62811", types.DefaultUserServer)
	device := types.NewADJID("62811", 0, 7)
	group := types.NewJID("1203630", types.GroupServer)
	for _, test := range []struct {
		jid, alt types.JID
		want     string
	}{
		{lid, pn, "123@lid"},
		{pn, lid, "123@lid"},
		{lid, types.EmptyJID, "123@lid"},
		{pn, types.EmptyJID, "62811@s.whatsapp.net"},
		{device, types.EmptyJID, "62811@s.whatsapp.net"},
		{device, lid, "123@lid"},
		{group, types.EmptyJID, "1203630@g.us"},
	} {
		if got := asWritten(test.jid, test.alt); got != test.want {
			t.Errorf("%s and %s: %s, want %s", test.jid, test.alt, got, test.want)
		}
	}
}
