package envelope

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
)

// legacyRow is one case of testdata/legacy-rows.json: rows made with Node's own
// crypto and Baileys' own initAuthCreds.
type legacyRow struct {
	SessionID   string `json:"session_id"`
	Secret      string
	KeyHex      string `json:"key_hex"`
	SessionData string `json:"session_data"`
	Plaintext   string
}

func legacyRows(t testing.TB) []legacyRow {
	t.Helper()
	data, err := os.ReadFile("testdata/legacy-rows.json")
	if err != nil {
		t.Fatal(err)
	}
	var rows []legacyRow
	if err := json.Unmarshal(data, &rows); err != nil {
		t.Fatal(err)
	}
	if len(rows) == 0 {
		t.Fatal("no rows")
	}
	return rows
}

func TestLegacyVectors(t *testing.T) {
	for _, r := range legacyRows(t) {
		t.Run(r.SessionID, func(t *testing.T) {
			if key := stretch(r.SessionID+r.Secret, []byte(legacySalt)); hex.EncodeToString(key) != r.KeyHex {
				t.Errorf("key is %x", key)
			}
			if !IsLegacy([]byte(r.SessionData)) {
				t.Fatal("not recognised")
			}
			text, err := OpenLegacy(r.SessionID, r.Secret, []byte(r.SessionData))
			if err != nil || string(text) != r.Plaintext {
				t.Errorf("opened to %q, error %v", text, err)
			}
			if _, err := OpenLegacy(r.SessionID, otherSecret, []byte(r.SessionData)); !errors.Is(err, ErrLegacy) {
				t.Errorf("wrong secret: %v", err)
			}
			if _, err := OpenLegacy("x"+r.SessionID, r.Secret, []byte(r.SessionData)); !errors.Is(err, ErrLegacy) {
				t.Errorf("another session: %v", err)
			}
			text, err = newTestKeyring(t, testSecret, r.Secret).OpenLegacy(r.SessionID, []byte(r.SessionData))
			if err != nil || string(text) != r.Plaintext {
				t.Errorf("through a keyring: error %v", err)
			}
			if _, err := newTestKeyring(t, testSecret).OpenLegacy(r.SessionID, []byte(r.SessionData)); !errors.Is(err, ErrLegacy) {
				t.Errorf("through a keyring without its secret: %v", err)
			}
		})
	}
}

func TestIsLegacy(t *testing.T) {
	good := strings.Repeat("0a", 16) + ":" + strings.Repeat("ff", 32)
	bad := map[string]string{
		"empty":       "",
		"no body":     good[:33],
		"no colon":    strings.Replace(good, ":", "0", 1),
		"half block":  good[:len(good)-16],
		"upper case":  strings.ToUpper(good),
		"odd digits":  good[:len(good)-1],
		"an envelope": "CSE\x01" + good,
		"line end":    good + "\n",
	}
	if !IsLegacy([]byte(good)) {
		t.Error("a good row is not recognised")
	}
	for name, row := range bad {
		if IsLegacy([]byte(row)) {
			t.Errorf("%s is taken for a row", name)
		}
		if _, err := OpenLegacy("a", testSecret, []byte(row)); !errors.Is(err, ErrLegacy) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A row that unpads without being the service's JSON is a wrong secret.
func TestLegacyPlaintextIsChecked(t *testing.T) {
	for text, ok := range map[string]bool{
		`{"creds":{"me":{}},"timestamp":1767000000000}`: true,
		`{"creds":{},"timestamp":1.5}`:                  true,
		`{"creds":{}}`:                                  false,
		`{"timestamp":1}`:                               false,
		`{"creds":[],"timestamp":1}`:                    false,
		`{"creds":null,"timestamp":1}`:                  false,
		`{"creds":{},"timestamp":"1"}`:                  false,
		`[]`:                                            false,
		"":                                              false,
		"\x00\x01\x02":                                  false,
	} {
		row := sealLegacy(t, "s", testSecret, text)
		_, err := OpenLegacy("s", testSecret, row)
		if (err == nil) != ok || err != nil && !errors.Is(err, ErrLegacy) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func sealLegacy(t *testing.T, sessionID, secret, text string) []byte {
	t.Helper()
	n := aes.BlockSize - len(text)%aes.BlockSize
	plain := append([]byte(text), strings.Repeat(string(rune(n)), n)...)
	block, err := aes.NewCipher(stretch(sessionID+secret, []byte(legacySalt)))
	if err != nil {
		t.Fatal(err)
	}
	iv := make([]byte, aes.BlockSize)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(plain, plain)
	return []byte(hex.EncodeToString(iv) + ":" + hex.EncodeToString(plain))
}

func FuzzLegacy(f *testing.F) {
	for _, r := range legacyRows(f) {
		f.Add(r.SessionID, []byte(r.SessionData))
	}
	f.Fuzz(func(t *testing.T, id string, data []byte) {
		if _, err := OpenLegacy(id, testSecret, data); err != nil && !errors.Is(err, ErrLegacy) {
			t.Errorf("%v", err)
		}
	})
}
