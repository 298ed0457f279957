package watest

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/util/keys"
)

// link is a client's request to pair with an account by code.
type link struct {
	conn    *conn
	ref     []byte
	wrapped []byte     // the client's ephemeral key, encrypted with the code
	finish  chan *node // the client's second step
}

// linkCodeLocked serves both steps of a client that pairs by code.
func (s *Service) linkCodeLocked(c *conn, n *node) node {
	registration := n.GetChildByTag("link_code_companion_reg")
	if c.pairing == nil {
		return failed(n, 400, "bad-request")
	}
	a := s.accountLocked(jidAttr(&registration, "jid"))
	if a == nil {
		return failed(n, 404, "item-not-found")
	}
	switch textAttr(&registration, "stage") {
	case "companion_hello":
		wrapped := childBytes(&registration, "link_code_pairing_wrapped_companion_ephemeral_pub")
		if len(wrapped) != wrappedSize {
			return failed(n, 400, "bad-request")
		}
		l := &link{conn: c, ref: []byte("3@" + rand.Text()), wrapped: wrapped, finish: make(chan *node, 1)}
		s.links[a.pn.User] = l
		s.notifyLocked()
		return result(n, node{Tag: "link_code_companion_reg", Content: []node{
			{Tag: "link_code_pairing_ref", Content: l.ref},
		}})
	case "companion_finish":
		l := s.links[a.pn.User]
		if l == nil || l.conn != c || string(childBytes(&registration, "link_code_pairing_ref")) != string(l.ref) {
			return failed(n, 404, "item-not-found")
		}
		select {
		case l.finish <- &registration:
		default: // nobody waits for a second one
		}
		return result(n)
	default:
		return failed(n, 400, "bad-request")
	}
}

// EnterCode links the client that asked to pair with this phone's number and
// shows code. The result is the new device's phone-number JID. A request that
// has not come yet is waited for; after [ErrWrongCode] the right one may be
// entered.
func (p *Phone) EnterCode(ctx context.Context, code string) (types.JID, error) {
	l, err := p.pendingLink(ctx)
	if err != nil {
		return types.JID{}, err
	}
	code = strings.ToUpper(strings.NewReplacer("-", "", " ", "").Replace(code))
	shared, err := p.exchangeKeys(l, code)
	if err != nil {
		return types.JID{}, err
	}
	var finish *node
	select {
	case finish = <-l.finish:
	case <-l.conn.done:
		return types.JID{}, fmt.Errorf("%w: it closed the connection", ErrPairRefused)
	case <-ctx.Done():
		return types.JID{}, ctx.Err()
	}
	adv, err := p.openKeyBundle(finish, shared)
	if err != nil {
		return types.JID{}, err
	}
	return p.service.link(ctx, p.account, l.conn, adv)
}

func (p *Phone) pendingLink(ctx context.Context) (*link, error) {
	var l *link
	err := p.service.wait(ctx, func() bool {
		l = p.service.links[p.account.pn.User]
		return l != nil
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoCodeRequest, err)
	}
	return l, nil
}

// wrappedSize is salt (32), initialization vector (16) and an encrypted key.
const wrappedSize = 80

// exchangeKeys reads the client's ephemeral key, sends the phone's own and
// returns the secret both share, if the code is the same.
func (p *Phone) exchangeKeys(l *link, code string) ([]byte, error) {
	clientEphemeral, err := underCode(code, l.wrapped[:32], l.wrapped[32:48], l.wrapped[48:])
	if err != nil {
		return nil, err
	}
	ephemeral := keys.NewKeyPair()
	shared, err := sharedSecret(ephemeral.Priv, clientEphemeral)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrWrongCode, err)
	}
	salt, iv := randomBytes(32), randomBytes(16)
	wrapped, err := underCode(code, salt, iv, ephemeral.Pub[:])
	if err != nil {
		return nil, err
	}
	s := p.service
	s.mu.Lock()
	defer s.mu.Unlock()
	l.conn.send(node{
		Tag: "notification",
		Attrs: attrs{
			"type": "link_code_companion_reg", "from": types.ServerJID, "id": s.nextIDLocked(), "t": now(),
		},
		Content: []node{{
			Tag: "link_code_companion_reg", Attrs: attrs{"stage": "primary_hello"},
			Content: []node{
				{Tag: "link_code_pairing_wrapped_primary_ephemeral_pub", Content: slices.Concat(salt, iv, wrapped)},
				{Tag: "primary_identity_pub", Content: p.signal.IdentityKey.Pub[:]},
				{Tag: "link_code_pairing_ref", Content: l.ref},
			},
		}},
	})
	return shared, nil
}

// openKeyBundle checks the client's identity and makes the adv secret.
func (p *Phone) openKeyBundle(finish *node, shared []byte) (adv []byte, err error) {
	wrapped := childBytes(finish, "link_code_pairing_wrapped_key_bundle")
	identity := childBytes(finish, "companion_identity_public")
	const saltSize, nonceSize, keySize = 32, 12, 32
	if len(wrapped) < saltSize+nonceSize || len(identity) != keySize {
		return nil, fmt.Errorf("%w: malformed key bundle", ErrPairRefused)
	}
	key, err := hkdf.Key(sha256.New, shared, wrapped[:saltSize], "link_code_pairing_key_bundle_encryption_key", keySize)
	if err != nil {
		return nil, fmt.Errorf("derive key bundle key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, wrapped[saltSize:saltSize+nonceSize], wrapped[saltSize+nonceSize:], nil)
	if err != nil {
		return nil, ErrWrongCode
	}
	own := p.signal.IdentityKey
	if len(plain) != 3*keySize || string(plain[:keySize]) != string(identity) ||
		string(plain[keySize:2*keySize]) != string(own.Pub[:]) {
		return nil, fmt.Errorf("%w: key bundle holds other identities", ErrPairRefused)
	}
	identities, err := sharedSecret(own.Priv, identity)
	if err != nil {
		return nil, err
	}
	return hkdf.Key(sha256.New, slices.Concat(shared, identities, plain[2*keySize:]), nil, "adv_secret", keySize)
}

// underCode encrypts or decrypts a key with the code two people compare.
func underCode(code string, salt, iv, data []byte) ([]byte, error) {
	const iterations = 2 << 16
	key, err := pbkdf2.Key(sha256.New, code, salt, iterations, 32)
	if err != nil {
		return nil, fmt.Errorf("derive key from code: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	out := make([]byte, len(data))
	cipher.NewCTR(block, iv).XORKeyStream(out, data)
	return out, nil
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // crypto/rand does not fail
	return b
}
