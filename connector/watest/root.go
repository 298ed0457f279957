package watest

import (
	"crypto/ecdh"
	"encoding/hex"
	"fmt"
	"time"

	"go.mau.fi/libsignal/ecc"
	"go.mau.fi/whatsmeow/proto/waCert"
	"go.mau.fi/whatsmeow/util/keys"
	"google.golang.org/protobuf/proto"
)

// testRootPrivate signs the certificate chains of simulated services. It is
// published here on purpose: a client that trusts it is a client under test.
const testRootPrivate = "58f1c2a7d05b4e3c9a6617b3e8d2405f71ac93be0d48562ee914cf7ab03d6142"

// TestRootKey is the public half of the root key pair of every simulated
// service: the value for [whatsmeow.WACertPubKey], which is global to a
// process, so that one process can talk to several services. The private half
// stands in this package's source and protects nothing.
//
// [whatsmeow.WACertPubKey]: https://pkg.go.dev/go.mau.fi/whatsmeow#WACertPubKey
var TestRootKey = *testRoot().Pub

func testRoot() *keys.KeyPair {
	private, err := hex.DecodeString(testRootPrivate)
	if err != nil {
		panic(fmt.Sprintf("watest: root key: %v", err))
	}
	return keys.NewKeyPairFromPrivateKey([32]byte(private))
}

// certChain makes the chain whatsmeow's handshake asks for: an intermediate
// signed by the root (issuer serial 0) and a leaf that holds static.
func certChain(static *[32]byte, now time.Time) ([]byte, error) {
	const intermediateSerial, leafSerial = 1, 2
	intermediate := keys.NewKeyPair()
	from, to := uint64(now.Add(-time.Hour).Unix()), uint64(now.AddDate(1, 0, 0).Unix())
	middle, err := certificate(testRoot(), &waCert.CertChain_NoiseCertificate_Details{
		Serial: proto.Uint32(intermediateSerial), IssuerSerial: proto.Uint32(0),
		Key: intermediate.Pub[:], NotBefore: &from, NotAfter: &to,
	})
	if err != nil {
		return nil, err
	}
	leaf, err := certificate(intermediate, &waCert.CertChain_NoiseCertificate_Details{
		Serial: proto.Uint32(leafSerial), IssuerSerial: proto.Uint32(intermediateSerial),
		Key: static[:], NotBefore: &from, NotAfter: &to,
	})
	if err != nil {
		return nil, err
	}
	return proto.Marshal(&waCert.CertChain{Leaf: leaf, Intermediate: middle})
}

func certificate(issuer *keys.KeyPair, details *waCert.CertChain_NoiseCertificate_Details) (*waCert.CertChain_NoiseCertificate, error) {
	raw, err := proto.Marshal(details)
	if err != nil {
		return nil, fmt.Errorf("encode certificate: %w", err)
	}
	signature := ecc.CalculateSignature(ecc.NewDjbECPrivateKey(*issuer.Priv), raw)
	return &waCert.CertChain_NoiseCertificate{Details: raw, Signature: signature[:]}, nil
}

// sharedSecret is X25519(private, public).
func sharedSecret(private *[32]byte, public []byte) ([]byte, error) {
	key, err := ecdh.X25519().NewPrivateKey(private[:])
	if err != nil {
		return nil, fmt.Errorf("read private key: %w", err)
	}
	peer, err := ecdh.X25519().NewPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("read public key: %w", err)
	}
	return key.ECDH(peer)
}
