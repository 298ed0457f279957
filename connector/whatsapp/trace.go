package whatsapp

import (
	"context"
	"strings"
	"sync"

	"go.mau.fi/whatsmeow/types"
)

// sendTrace sees for which devices an attempt has encrypted. whatsmeow sends, and the service acknowledges, a message
// for which no device of the recipient could be encrypted for: fetching their keys failed, and that is only logged.
type sendTrace struct {
	mu        sync.Mutex
	stored    bool     // whatsmeow has stored the message, which comes before it encrypts
	addresses []string // Signal addresses written to
}

// sending marks the context of a send; the value is its *sendTrace.
type sending struct{}

func isSending(ctx context.Context) bool { return ctx.Value(sending{}) != nil }

func (t *sendTrace) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stored = true
}

// begun tells whether the attempt has come to encrypting.
func (t *sendTrace) begun() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stored
}

func (t *sendTrace) wrote(address string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.addresses = append(t.addresses, address)
}

// reached tells whether a device of a person was encrypted for. Groups are left out: a member without keys asks for
// the message again.
func (t *sendTrace) reached(to types.JID) bool {
	if to.Server != types.HiddenUserServer && to.Server != types.DefaultUserServer {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, address := range t.addresses {
		if strings.HasPrefix(address, to.SignalAddressUser()+":") {
			return true
		}
	}
	return false
}
