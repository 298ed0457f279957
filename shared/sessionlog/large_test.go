package sessionlog

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"cloudsession/shared/cloudstore"
	"cloudsession/shared/envelope"
)

// largePush is a push of about size bytes that doesn't compress.
func largePush(base bool, size int) Push {
	rnd := rand.NewChaCha8([32]byte{byte(size)})
	p := Push{Base: base, Tables: []Table{{Name: "t", Columns: []string{"id", "v"}, Key: []string{"id"}}}}
	for i := range size / 1000 {
		v := make([]byte, 1000)
		_, _ = rnd.Read(v)
		p.Records = append(p.Records, Record{Key: []Value{int64(i)}, Row: []Value{int64(i), v}})
	}
	return p
}

func sealPush(t testing.TB, keys *envelope.Keyring, after Cursor, p Push) []cloudstore.Segment {
	t.Helper()
	b, err := p.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	segs, err := Seal(keys, "personal", envelope.Salt{}, after, b, p.Base)
	if err != nil {
		t.Fatal(err)
	}
	return segs
}

func TestLargePushes(t *testing.T) {
	keys := newKeyring(t, testSecret)
	want := []Push{largePush(true, 10_000_000), largePush(false, 2_500_000)}
	var rows []cloudstore.Segment
	at := Cursor{Epoch: 1}
	for _, p := range want {
		segs := sealPush(t, keys, at, p)
		for _, s := range segs {
			if len(s.Data) > cloudstore.MaxSegmentBytes {
				t.Errorf("row of %d bytes", len(s.Data))
			}
		}
		rows = append(rows, segs...)
		at = cursor(&segs[len(segs)-1])
	}
	if len(rows) != 10+3 {
		t.Errorf("%d rows", len(rows))
	}
	var got [][]byte
	res, err := Read(keys, "personal", []EpochRows{{Epoch: 1, Segments: rows}}, collect(&got))
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range want {
		if b, err := p.Marshal(); err != nil || i >= len(got) || !bytes.Equal(got[i], b) {
			t.Errorf("push %d came back as another, error %v", i, err)
		}
	}
	if res.Last != at || res.LastComplete != at || res.Rows != len(rows) || !res.Current {
		t.Errorf("result %+v", res)
	}
}

func TestSealRefusesTooMuch(t *testing.T) {
	keys := newKeyring(t, testSecret)
	if _, err := Seal(keys, "personal", envelope.Salt{}, Cursor{Epoch: 1}, make([]byte, MaxPush+1), true); !errors.Is(err, ErrTooLarge) {
		t.Errorf("error %v", err)
	}
	if _, err := seal(keys, "personal", envelope.Salt{}, Cursor{Epoch: 1}, make([]byte, 1<<16), false, 1); !errors.Is(err, ErrTooLarge) {
		t.Errorf("65,536 parts: error %v", err)
	}
}

func TestApplyErrorStopsReading(t *testing.T) {
	keys := newKeyring(t, testSecret)
	rows := sealPush(t, keys, Cursor{Epoch: 1}, largePush(true, 1000))
	rows = append(rows, sealPush(t, keys, cursor(&rows[0]), largePush(false, 1000))...)
	stop, calls := errors.New("disk full"), 0
	_, err := Read(keys, "personal", []EpochRows{{Epoch: 1, Segments: rows}}, func(Push) error {
		calls++
		return stop
	})
	if !errors.Is(err, stop) || calls != 1 {
		t.Errorf("error %v after %d calls", err, calls)
	}
}

func TestVerifySeal(t *testing.T) {
	keys := newKeyring(t, testSecret)
	after := Cursor{Epoch: 4, Seq: 7, Tag: [32]byte{9}}
	seg, err := SealTerminator(keys, "personal", envelope.Salt{}, after)
	if err != nil {
		t.Fatal(err)
	}
	if seg.Seq != 8 || seg.Epoch != 4 || seg.Kind != cloudstore.KindSeal {
		t.Errorf("seal at %d/%d of kind %s", seg.Epoch, seg.Seq, seg.Kind)
	}
	if err := VerifySeal(keys, seg, after.Tag); err != nil {
		t.Errorf("good seal: %v", err)
	}
	if err := VerifySeal(keys, seg, [32]byte{}); !errors.Is(err, ErrTampered) {
		t.Errorf("behind another row: %v", err)
	}
	if err := VerifySeal(newKeyring(t, otherSecret), seg, after.Tag); !errors.Is(err, ErrWrongSecret) {
		t.Errorf("wrong secret: %v", err)
	}
	for name, change := range map[string]func(*cloudstore.Segment){
		"epoch": func(s *cloudstore.Segment) { s.Epoch++ },
		"seq":   func(s *cloudstore.Segment) { s.Seq++ },
		"kind":  func(s *cloudstore.Segment) { s.Kind = cloudstore.KindFence },
		"tag":   func(s *cloudstore.Segment) { s.Tag[0]++ },
		"data":  func(s *cloudstore.Segment) { s.Data = nil },
		"delta": func(s *cloudstore.Segment) { *s = sealPush(t, keys, after, largePush(false, 0))[0] },
	} {
		other := seg
		change(&other)
		if err := VerifySeal(keys, other, after.Tag); !errors.Is(err, ErrTampered) {
			t.Errorf("another %s: %v", name, err)
		}
	}
}

// Whatever an owner of the secret puts into a base, reading it ends with a
// result or a named error.
func FuzzRead(f *testing.F) {
	keys := newKeyring(f, testSecret)
	good, err := largePush(true, 3000).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(compress(make([]byte, 32), good), true)
	f.Add(good, false)
	f.Add([]byte{}, true)
	f.Fuzz(func(t *testing.T, body []byte, base bool) {
		if len(body) > 1<<16 {
			return
		}
		seg := cloudstore.Segment{SessionID: "s", Epoch: 1, Seq: 1, Kind: cloudstore.KindDelta, Part: 1, Parts: 1}
		kind := envelope.KindDelta
		if base {
			seg.Kind, kind = cloudstore.KindBase, envelope.KindBase
		}
		var err error
		if seg.Data, seg.Tag, err = keys.Seal(kind, base, position(&seg, [32]byte{}), envelope.Salt{}, body); err != nil {
			t.Fatal(err)
		}
		_, err = Verify(keys, "s", []EpochRows{{Epoch: 1, Segments: []cloudstore.Segment{seg}}}, func(_ Cursor, p Push) error {
			_, err := p.Marshal()
			return err
		})
		for _, want := range []error{nil, ErrMalformed, ErrPushVersion, ErrTooLarge, ErrReordered} {
			if errors.Is(err, want) {
				return
			}
		}
		t.Errorf("unnamed error %v", err)
	})
}

func BenchmarkRead10MB(b *testing.B) {
	keys := newKeyring(b, testSecret)
	rows := sealPush(b, keys, Cursor{Epoch: 1}, largePush(true, 10_000_000))
	b.SetBytes(10_000_000)
	for b.Loop() {
		if _, err := Read(keys, "personal", []EpochRows{{Epoch: 1, Segments: rows}}, func(Push) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
