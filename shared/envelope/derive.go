package envelope

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/pbkdf2"
	"crypto/sha256"
)

const (
	iterations = 100_000

	labelEnc       = "cloudsession v1 enc\x00"
	labelMAC       = "cloudsession v1 mac\x00"
	labelSecretID  = "cloudsession v1 secret id\x00"
	labelSessionID = "cloudsession v1 session id\x00"
	saltKeyID      = "cloudsession v1 key id"
)

// sealingKeys are the keys of one session under one secret.
type sealingKeys struct {
	enc, mac [32]byte
}

func (s sealingKeys) block() cipher.Block {
	b, err := aes.NewCipher(s.enc[:])
	if err != nil {
		panic("envelope: " + err.Error()) // only for a key of another length
	}
	return b
}

func deriveKeys(secret, sessionID string, salt Salt) sealingKeys {
	prk := stretch(sessionID+secret, salt[:])
	return sealingKeys{
		enc: [32]byte(expand(prk, labelEnc+sessionID, 32)),
		mac: [32]byte(expand(prk, labelMAC+sessionID, 32)),
	}
}

func deriveIDKey(secret string) [32]byte {
	return [32]byte(stretch(secret, []byte(saltKeyID)))
}

// keyID is the key id of rows that s seals for a session. The first call costs
// one run of PBKDF2.
func (s *secret) keyID(sessionID string) [4]byte {
	idk := s.idKey()
	var id [4]byte
	copy(id[:2], expand(idk[:], labelSecretID, 2))
	copy(id[2:], expand(idk[:], labelSessionID+sessionID, 2))
	return id
}

func stretch(password string, salt []byte) []byte {
	key, err := pbkdf2.Key(sha256.New, password, salt, iterations, 32)
	if err != nil {
		panic("envelope: " + err.Error()) // only in FIPS mode, for parameters other than these
	}
	return key
}

func expand(prk []byte, info string, n int) []byte {
	out, err := hkdf.Expand(sha256.New, prk, info, n)
	if err != nil {
		panic("envelope: " + err.Error()) // only for more than 8,160 bytes
	}
	return out
}
