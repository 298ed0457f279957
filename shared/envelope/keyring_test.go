package envelope

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

func TestNewKeyringRefuses(t *testing.T) {
	tests := []struct {
		name, secret string
		want         error
	}{
		{"missing", "", ErrSecretMissing},
		{"31 characters", testSecret[:31], ErrSecretWeak},
		{"32 bytes in 16 characters", strings.Repeat("é", 16), ErrSecretWeak},
		{"the documented placeholder", "your-super-secret-encryption-key-change-this-in-production", ErrSecretWeak},
		{"the Node service's default", LegacyDefaultSecret, ErrSecretWeak},
		{"32 characters", testSecret, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := NewKeyring(tt.secret)
			if !errors.Is(err, tt.want) {
				t.Fatalf("error %v, want %v", err, tt.want)
			}
			if errors.Is(err, ErrSecretWeak) && !strings.Contains(err.Error(), "openssl rand -hex 32") {
				t.Errorf("%q doesn't say how to make a secret", err)
			}
			if tt.secret != "" && err != nil && strings.Contains(err.Error(), tt.secret) {
				t.Errorf("%q shows the secret", err)
			}
		})
	}
	if ErrSecretMissing.Error() != "SESSION_ENCRYPTION_SECRET not set" {
		t.Errorf("text of a missing secret: %q", ErrSecretMissing)
	}
}

func TestRotation(t *testing.T) {
	old := &Keyring{secrets: []*secret{newSecret("short")}, cache: newCache(4)}
	data, _, err := old.Seal(KindDelta, false, testPosition(), Salt{1}, []byte("before"))
	if err != nil {
		t.Fatal(err)
	}
	k := newTestKeyring(t, testSecret, "", otherSecret, "short", testSecret)
	opened, err := k.Open(testPosition(), data)
	if err != nil || opened.Current || string(opened.Plaintext) != "before" {
		t.Errorf("row of a previous secret: %+v, %v", opened, err)
	}
	data, _, err = k.Seal(KindDelta, false, testPosition(), Salt{1}, []byte("after"))
	if err != nil {
		t.Fatal(err)
	}
	if opened, err = k.Open(testPosition(), data); err != nil || !opened.Current {
		t.Errorf("row of the current secret: %+v, %v", opened, err)
	}
	if _, err := old.Open(testPosition(), data); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("previous secret opens a new row: %v", err)
	}
	if len(k.secrets) != 3 {
		t.Errorf("%d secrets, want 3", len(k.secrets))
	}
}

// Two secrets with the same key id must not hide each other.
func TestKeyIDsMayCollide(t *testing.T) {
	k := newTestKeyring(t, testSecret, otherSecret)
	same := k.secrets[0].idKey
	k.secrets[1].idKey = same
	old := &Keyring{secrets: k.secrets[1:], cache: newCache(4)}
	data, _, err := old.Seal(KindDelta, false, testPosition(), Salt{1}, []byte("before"))
	if err != nil {
		t.Fatal(err)
	}
	if opened, err := k.Open(testPosition(), data); err != nil || opened.Current {
		t.Errorf("%+v, %v", opened, err)
	}
}

func TestKeyringShowsNoSecret(t *testing.T) {
	k := newTestKeyring(t, testSecret, otherSecret)
	k.Derive("personal", Salt{})
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("keys", "keyring", k)
	shown := log.String() + fmt.Sprintf("%v %+v %#v %s %d %x %q", k, k, k, k, k, k, k) + fmt.Sprintf("%v", *k)
	for _, secret := range []string{testSecret, otherSecret, fmt.Sprintf("%x", testSecret)} {
		if strings.Contains(shown, secret) {
			t.Errorf("shows a secret: %s", shown)
		}
	}
}

func TestCache(t *testing.T) {
	c := newCache(2)
	s := newSecret(testSecret)
	first := c.entry(keyName{s, "a", Salt{}})
	c.entry(keyName{s, "b", Salt{}})
	if c.entry(keyName{s, "a", Salt{}}) != first {
		t.Error("an entry was made twice")
	}
	c.entry(keyName{s, "c", Salt{}}) // pushes out b, the least recently used
	if c.entry(keyName{s, "a", Salt{}}) != first {
		t.Error("the most recently used entry is gone")
	}
	if len(c.byName) != 2 || c.recent.Len() != 2 {
		t.Errorf("%d names, %d entries, want 2", len(c.byName), c.recent.Len())
	}
	if _, ok := c.byName[keyName{s, "b", Salt{}}]; ok {
		t.Error("the least recently used entry is still there")
	}
}

func TestConcurrentUse(t *testing.T) {
	k := newTestKeyring(t, testSecret)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			pos := testPosition()
			pos.Seq = uint64(i)
			data, _, err := k.Seal(KindDelta, false, pos, Salt{}, []byte("x"))
			if err != nil {
				t.Error(err)
			}
			if _, err := k.Open(pos, data); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := k.cache.recent.Len(); n != 1 {
		t.Errorf("%d entries for one session", n)
	}
}

func TestDeriveAhead(t *testing.T) {
	k := newTestKeyring(t, testSecret)
	sessions := []SessionSalt{{"a", Salt{1}}, {"b", Salt{2}}}
	if err := k.DeriveAhead(t.Context(), sessions); err != nil {
		t.Fatal(err)
	}
	if n := k.cache.recent.Len(); n != len(sessions) {
		t.Errorf("%d keys are there, want %d", n, len(sessions))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := k.DeriveAhead(ctx, sessions); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
}

func BenchmarkDerive(b *testing.B) {
	for range b.N {
		deriveKeys(testSecret, "personal", Salt{})
	}
}

func BenchmarkSeal1kB(b *testing.B) {
	k := newTestKeyring(b, testSecret)
	body := make([]byte, 1000)
	k.Derive("personal", Salt{})
	for b.Loop() {
		if _, _, err := k.Seal(KindDelta, false, testPosition(), Salt{}, body); err != nil {
			b.Fatal(err)
		}
	}
}

// What an envelope's header says of its key is readable without opening it.
func TestSealedByCurrent(t *testing.T) {
	old, both := newTestKeyring(t, testSecret), newTestKeyring(t, otherSecret, testSecret)
	pos := CredentialsPosition("personal")
	data, _, err := old.Seal(KindCredentials, false, pos, NewSalt(), []byte("text"))
	if err != nil {
		t.Fatal(err)
	}
	again, _, err := both.Seal(KindCredentials, false, pos, NewSalt(), []byte("text"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		keys    *Keyring
		session string
		header  []byte
		want    bool
	}{
		{old, "personal", data[:KeyHeader], true},
		{both, "personal", data[:KeyHeader], false},
		{both, "personal", again, true},
		{old, "personal", again, false},
		{old, "business", data, false},
		{old, "personal", data[:KeyHeader-1], false},
		{old, "personal", []byte("48be88921b7b62a8d61743569a43d7ef:"), false},
		{old, "personal", nil, false},
	} {
		if got := c.keys.SealedByCurrent(c.session, c.header); got != c.want {
			t.Errorf("%s, header %x: %t, want %t", c.session, c.header, got, c.want)
		}
	}
}
