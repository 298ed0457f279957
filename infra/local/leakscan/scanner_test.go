package leakscan

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
)

// TestScannerSees: a key is found in every form that programs print keys in, in the
// middle of other things, and its name comes back, not the key.
func TestScannerSees(t *testing.T) {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	var s Scanner
	s.Add("a key", key)
	list := make([]int, len(key))
	for i, b := range key {
		list[i] = int(b)
	}
	inJSON, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"raw": string(key), "hex": hex.EncodeToString(key), "%X": fmt.Sprintf("%X", key), "%x": fmt.Sprintf("0x%x", key),
		"%v": fmt.Sprintf("%v", key), "%q": fmt.Sprintf("%q", key), "%d": fmt.Sprintf("%d", key), "JSON": string(inJSON),
		"query": url.QueryEscape(string(key)), "%#v": strings.NewReplacer("0x", "", ", ", "").Replace(fmt.Sprintf("%#v", hex.EncodeToString(key))),
		"base64": base64.StdEncoding.EncodeToString(key), "URL base64": base64.URLEncoding.EncodeToString(key),
	} {
		if found := s.Scan([]byte("before " + text + " after")); len(found) != 1 || !strings.HasPrefix(found[0], "a key, ") {
			t.Errorf("%s: found %q", name, found)
		}
	}
	for before := range 7 {
		for after := range 7 {
			longer := append(append(make([]byte, before), key...), make([]byte, after)...)
			if found := s.Scan([]byte(base64.StdEncoding.EncodeToString(longer))); len(found) != 1 {
				t.Errorf("in base64 between %d and %d other bytes: found %q", before, after, found)
			}
		}
	}
}

// TestScannerIsNotFooled: neither a part of a key nor another key is taken for it.
func TestScannerIsNotFooled(t *testing.T) {
	key, other := make([]byte, 32), make([]byte, 1<<20)
	_, _ = rand.Read(key)   // never fails
	_, _ = rand.Read(other) // as above
	var s Scanner
	s.Add("a key", key)
	for _, data := range [][]byte{nil, key[:31], key[1:], other, []byte(hex.EncodeToString(key[:31]))} {
		if found := s.Scan(data); len(found) > 0 {
			t.Errorf("found %q in what does not hold it", found)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("a secret of three bytes was taken")
		}
	}()
	s.Add("short", []byte("abc"))
}
