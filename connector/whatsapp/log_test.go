package whatsapp

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/types"
)

func TestLogAdapterReducesWhatItIsGiven(t *testing.T) {
	const number = "6281244445555"
	jid := types.JID{User: number, Device: 12, Server: types.DefaultUserServer}
	node := &waBinary.Node{Tag: "message", Attrs: waBinary.Attrs{"from": jid, "notify": "Secret Name"}, Content: []byte("ciphertext")}
	key := "q83vASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4k="
	buffer := &logBuffer{}
	adapter := &logAdapter{log: slog.New(slog.NewTextHandler(buffer, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	sub := adapter.Sub("Recv")
	sub.Debugf("%s", node)
	sub.Infof("Successfully paired %s", jid)
	if got := buffer.String(); got != "" {
		t.Errorf("logged below warning: %s", got)
	}
	sub.Warnf("Node handling took %s for %s", 7*time.Second, node)
	sub.Warnf("Node handling took %s for %v %+v %s", 7*time.Second, *node, jid, &jid)
	sub.Warnf("Failed to encrypt %s for %s: %v", "3EB0ABCDEF0123456789AB", jid, fmt.Errorf("no session with %s:12", number))
	sub.Errorf("Failed to get LID for %s: %v", jid.String(), errors.New("database is locked"))
	sub.Errorf("Migrated %d sessions from %s to %s", 3, number, "123456789012345_1:3")
	sub.Errorf("parsed %v, %s, %X", errors.New(node.String()), key, []byte("Secret"))
	sub.Errorf("participants %v, %v", []types.JID{jid}, struct{ Name string }{"Secret Name"})
	sub.Errorf("got status %d", 503)
	got := buffer.String()
	for _, secret := range []string{number, "Secret", "ciphertext", key, "123456789012345", "536563726574"} {
		if strings.Contains(got, secret) {
			t.Errorf("%q was logged:\n%s", secret, got)
		}
	}
	for _, kept := range []string{"3EB0ABCDEF0123456789AB", "7s", "<message stanza>", "database is locked", "503", "Migrated 3 sessions", "module=/Recv"} {
		if !strings.Contains(got, kept) {
			t.Errorf("%q is missing:\n%s", kept, got)
		}
	}
	adapter.raw = true
	adapter.Debugf("%s", jid)
	if !strings.Contains(buffer.String(), number) {
		t.Error("the debug option doesn't let debug lines through")
	}
}
