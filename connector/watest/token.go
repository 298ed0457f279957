package watest

import (
	"fmt"
	"strconv"
	"time"

	"go.mau.fi/whatsmeow/types"
)

// SendPrivacyToken gives another account a new trusted-contact token, as phones
// do when they first write to somebody and now and then after it: the other's
// linked devices keep it to be allowed to write back. Nothing of it is encrypted.
func (p *Phone) SendPrivacyToken(to types.JID) error {
	s := p.service
	s.mu.Lock()
	defer s.mu.Unlock()
	peer := s.accountLocked(to)
	switch {
	case s.closed:
		return ErrClosed
	case peer == nil:
		return fmt.Errorf("%w: %s", ErrNoAccount, to)
	}
	token := node{
		Tag: "token", Content: randomBytes(16),
		Attrs: attrs{"type": "trusted_contact", "jid": p.account.lid, "t": strconv.FormatInt(time.Now().Unix(), 10)},
	}
	for _, d := range peer.sorted()[1:] {
		s.notificationLocked(d, "privacy_token", p.account.lid, node{Tag: "tokens", Content: []node{token}})
	}
	s.notifyLocked()
	return nil
}
