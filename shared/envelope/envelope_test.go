package envelope

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

const (
	testSecret  = "0123456789abcdef0123456789abcdef"
	otherSecret = "fedcba9876543210fedcba9876543210"
)

func testPosition() Position {
	return Position{SessionID: "personal", Epoch: 3, Seq: 9, Part: 1, Parts: 2, PrevTag: [32]byte{1, 2, 3}}
}

func TestEveryFlippedBitIsNoticed(t *testing.T) {
	k := newTestKeyring(t, testSecret)
	pos := testPosition()
	data, _, err := k.Seal(KindDelta, false, pos, Salt{7}, []byte("a change"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		for bit := range 8 {
			data[i] ^= 1 << bit
			_, err := k.Open(pos, data)
			data[i] ^= 1 << bit
			want := ErrTampered
			switch {
			case i < offVersion:
				want = ErrNotEnvelope
			case i == offVersion:
				want = ErrVersion
			}
			if !errors.Is(err, want) {
				t.Fatalf("byte %d, bit %d: error %v, want %v", i, bit, err, want)
			}
		}
	}
	if _, err := k.Open(pos, data); err != nil {
		t.Fatalf("unharmed envelope: %v", err)
	}
}

func TestEveryCutIsNoticed(t *testing.T) {
	k := newTestKeyring(t, testSecret)
	data, _, err := k.Seal(KindDelta, false, testPosition(), Salt{7}, make([]byte, 300))
	if err != nil {
		t.Fatal(err)
	}
	for n := range data {
		if _, err := k.Open(testPosition(), data[:n]); !errors.Is(err, ErrTruncated) && !errors.Is(err, ErrTampered) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
}

func TestSizes(t *testing.T) {
	k := newTestKeyring(t, testSecret)
	body := bytes.Repeat([]byte{0xA5}, MaxBody)
	data, tag, err := k.Seal(KindBase, true, testPosition(), Salt{}, body)
	if err != nil {
		t.Fatal(err)
	}
	if len(data) > MaxSize || len(data) <= MaxSize-padding {
		t.Errorf("the largest body gives %d bytes", len(data))
	}
	opened, err := k.Open(testPosition(), data)
	if err != nil || !bytes.Equal(opened.Plaintext, body) {
		t.Errorf("the largest body doesn't come back: %v", err)
	}
	if got, err := Tag(data); err != nil || got != tag {
		t.Errorf("Tag: %x, %v", got, err)
	}
	if _, _, err := k.Seal(KindBase, true, testPosition(), Salt{}, make([]byte, MaxBody+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a larger body: %v", err)
	}
	if _, err := k.Open(testPosition(), make([]byte, MaxSize+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a larger envelope: %v", err)
	}
}

func TestSealRefusesWhatNoReaderTakes(t *testing.T) {
	k := newTestKeyring(t, testSecret)
	for _, c := range []struct {
		kind       Kind
		compressed bool
	}{{0, false}, {5, false}, {KindDelta, true}, {KindCredentials, true}, {KindSeal, true}} {
		if _, _, err := k.Seal(c.kind, c.compressed, testPosition(), Salt{}, nil); !errors.Is(err, ErrMalformed) {
			t.Errorf("%v, compressed %v: %v", c.kind, c.compressed, err)
		}
	}
}

func TestSealingTwiceDiffers(t *testing.T) {
	k := newTestKeyring(t, testSecret)
	a, _, errA := k.Seal(KindDelta, false, testPosition(), Salt{}, []byte("same"))
	b, _, errB := k.Seal(KindDelta, false, testPosition(), Salt{}, []byte("same"))
	if errA != nil || errB != nil || bytes.Equal(a[offIV:], b[offIV:]) {
		t.Errorf("two envelopes share their IV: %v %v", errA, errB)
	}
	if salt := NewSalt(); salt == NewSalt() {
		t.Error("two salts are equal")
	}
}

func TestErrorsShowNoSecrets(t *testing.T) {
	k := newTestKeyring(t, testSecret)
	data, _, err := k.Seal(KindDelta, false, testPosition(), Salt{}, []byte("hush-hush"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = newTestKeyring(t, otherSecret).Open(testPosition(), data)
	if !errors.Is(err, ErrUnknownKey) {
		t.Fatalf("wrong secret: %v", err)
	}
	for _, s := range []string{testSecret, otherSecret, "hush-hush"} {
		if strings.Contains(err.Error(), s) {
			t.Errorf("error shows %q", s)
		}
	}
}

func FuzzOpen(f *testing.F) {
	k := newTestKeyring(f, testSecret)
	pos := testPosition()
	for _, body := range []string{"", "a", strings.Repeat("b", 252), strings.Repeat("c", 253)} {
		data, _, err := k.Seal(KindDelta, false, pos, Salt{}, []byte(body))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, false)
	}
	for _, v := range loadVectors(f) {
		f.Add([]byte(v.Data), true)
	}
	f.Fuzz(func(t *testing.T, data []byte, retag bool) {
		if retag && len(data) >= minSize {
			// Reach what lies behind the tag.
			data = bytes.Clone(data)
			copy(data[offSalt:], make([]byte, 16))
			n := len(data) - tagSize
			id := k.secrets[0].keyID(pos.SessionID)
			copy(data[offKeyID:], id[:])
			tag := k.cache.keys(k.secrets[0], pos.SessionID, Salt{}).tag(data[:headerSize], pos, data[headerSize:n])
			copy(data[n:], tag[:])
		} else if len(data) >= minSize && !bytes.Equal(data[offSalt:offIV], make([]byte, 16)) {
			return // deriving keys for each salt would leave no time for anything else
		}
		opened, err := k.Open(pos, data)
		if err != nil {
			return
		}
		again, _, err := k.seal(opened.Kind, opened.Compressed, pos, opened.Salt, [16]byte(data[offIV:headerSize]), opened.Plaintext)
		if err != nil || !bytes.Equal(again, data) {
			t.Errorf("what opened seals to other bytes: %v", err)
		}
	})
}
