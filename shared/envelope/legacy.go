package envelope

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
)

// LegacyDefaultSecret is what the Node service sealed with when it had no
// secret. It is used only when the operator names it.
const LegacyDefaultSecret = "whiskeysocket-default-secret"

// ErrLegacy is returned for a row of the Node service that doesn't open. Its
// format has no tag, so the two causes can't be told apart.
var ErrLegacy = errors.New("wrong secret or damaged row")

const (
	legacySalt = "whiskeysocket"
	legacyIV   = 2 * aes.BlockSize // hex digits
)

// IsLegacy reports whether data has the form of a row of the Node service:
// hex(iv) ":" hex(ciphertext), lower case, whole blocks.
func IsLegacy(data []byte) bool {
	if len(data) < legacyIV+1+2*aes.BlockSize || data[legacyIV] != ':' {
		return false
	}
	return lowerHex(data[:legacyIV]) && lowerHex(data[legacyIV+1:]) && (len(data)-legacyIV-1)%(2*aes.BlockSize) == 0
}

func lowerHex(b []byte) bool {
	for _, c := range b {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// OpenLegacy opens a row of the Node service and returns its JSON. The error
// is ErrLegacy for whatever doesn't open to the JSON that service wrote.
func OpenLegacy(sessionID, secret string, data []byte) ([]byte, error) {
	if !IsLegacy(data) {
		return nil, fmt.Errorf("open row of the Node service: not its format: %w", ErrLegacy)
	}
	raw := make([]byte, hex.DecodedLen(len(data)-1))
	if _, err := hex.Decode(raw, append(append([]byte(nil), data[:legacyIV]...), data[legacyIV+1:]...)); err != nil {
		return nil, fmt.Errorf("open row of the Node service: %w", ErrLegacy)
	}
	block, err := aes.NewCipher(stretch(sessionID+secret, []byte(legacySalt)))
	if err != nil {
		return nil, fmt.Errorf("open row of the Node service: %w", err)
	}
	text := raw[aes.BlockSize:]
	cipher.NewCBCDecrypter(block, raw[:aes.BlockSize]).CryptBlocks(text, text)
	text, ok := unpad(text)
	if !ok || !isLegacyPlaintext(text) {
		return nil, fmt.Errorf("open row of the Node service: %w", ErrLegacy)
	}
	return text, nil
}

// OpenLegacy opens a row of the Node service with whichever of the keyring's
// secrets fits. The error is ErrLegacy if none does.
func (k *Keyring) OpenLegacy(sessionID string, data []byte) ([]byte, error) {
	err := fmt.Errorf("open row of the Node service: %w", ErrLegacy)
	for _, s := range k.secrets {
		var text []byte
		if text, err = OpenLegacy(sessionID, s.value, data); err == nil {
			return text, nil
		}
	}
	return nil, err
}

// unpad removes PKCS#7 padding (RFC 5652, section 6.3).
func unpad(text []byte) ([]byte, bool) {
	n := int(text[len(text)-1])
	if n == 0 || n > aes.BlockSize {
		return nil, false
	}
	for _, b := range text[len(text)-n:] {
		if int(b) != n {
			return nil, false
		}
	}
	return text[:len(text)-n], true
}

func isLegacyPlaintext(text []byte) bool {
	var row struct {
		Creds     map[string]json.RawMessage `json:"creds"`
		Timestamp *float64                   `json:"timestamp"`
	}
	return json.Unmarshal(text, &row) == nil && row.Creds != nil && row.Timestamp != nil
}
