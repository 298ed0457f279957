package whatsapp

import (
	"errors"
	"strings"
	"testing"

	"cloudsession/connector/watest"
)

func TestParseEndpoint(t *testing.T) {
	root := strings.Repeat("ab", 32)
	for _, addr := range []string{"127.0.0.1:8080", "[::1]:8080", "localhost:1"} {
		if e, err := ParseEndpoint(addr, root); err != nil || e.IsReal() || e.Addr != addr {
			t.Errorf("%s: %+v, %v", addr, e, err)
		}
	}
	if e, err := ParseEndpoint("", ""); err != nil || !e.IsReal() {
		t.Errorf("nothing set: %+v, %v", e, err)
	}
	for _, test := range [][2]string{
		{"10.0.0.1:8080", root},
		{"example.com:443", root},
		{"localhost.example.com:443", root},
		{"127.0.0.1", root},
		{"127.0.0.1:0", root},
		{":8080", root},
		{"127.0.0.1:8080", ""},
		{"", root},
		{"127.0.0.1:8080", "ab"},
		{"127.0.0.1:8080", strings.Repeat("zz", 32)},
		{"127.0.0.1:8080", strings.Repeat("00", 32)},
	} {
		if e, err := ParseEndpoint(test[0], test[1]); !errors.Is(err, ErrEndpoint) {
			t.Errorf("%q, %q: %+v, %v", test[0], test[1], e, err)
		}
	}
}

func TestOneRootKeyInAProcess(t *testing.T) {
	simulated := Endpoint{Addr: "127.0.0.1:1", RootKey: watest.TestRootKey}
	if err := simulated.trustRoot(); err != nil {
		t.Fatal(err)
	}
	if err := simulated.trustRoot(); err != nil {
		t.Errorf("the same again: %v", err)
	}
	if err := (Endpoint{}).trustRoot(); !errors.Is(err, ErrEndpoint) {
		t.Errorf("the real service beside a simulated one: %v", err)
	}
	other := simulated
	other.RootKey[0] ^= 1
	if err := other.trustRoot(); !errors.Is(err, ErrEndpoint) {
		t.Errorf("another root key: %v", err)
	}
}
