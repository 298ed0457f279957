package sessionlog

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// hexBytes is a byte string written in hexadecimal.
type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// pushVector is one case of testdata/pushes.json, which testdata/vectors.py
// makes from the specification alone.
type pushVector struct {
	Name  string
	Want  string
	Bytes hexBytes
	Push  struct {
		Base          bool
		SchemaVersion int `json:"schema_version"`
		SchemaCompat  int `json:"schema_compat"`
		Schema        []string
		Tables        []Table
		Records       []struct {
			Table    int
			Key, Row []jsonValue
		}
	}
}

// jsonValue is a Value as [type, contents].
type jsonValue struct{ v Value }

func (j *jsonValue) UnmarshalJSON(data []byte) error {
	var pair [2]json.RawMessage
	if err := json.Unmarshal(data, &pair); err != nil {
		return err
	}
	switch string(pair[0]) {
	case `"null"`:
		return nil
	case `"int"`:
		var n int64
		err := json.Unmarshal(pair[1], &n)
		j.v = n
		return err
	}
	var h hexBytes
	if err := json.Unmarshal(pair[1], &h); err != nil {
		return err
	}
	switch string(pair[0]) {
	case `"real"`:
		j.v = math.Float64frombits(binary.BigEndian.Uint64(h))
	case `"text"`:
		j.v = string(h)
	case `"blob"`:
		j.v = []byte(h)
	default:
		return fmt.Errorf("type %s", pair[0])
	}
	return nil
}

func (v pushVector) push() Push {
	p := Push{Base: v.Push.Base, SchemaVersion: v.Push.SchemaVersion, SchemaCompat: v.Push.SchemaCompat}
	p.Schema = append(p.Schema, v.Push.Schema...)
	p.Tables = append(p.Tables, v.Push.Tables...)
	for _, r := range v.Push.Records {
		rec := Record{Table: r.Table}
		for _, k := range r.Key {
			rec.Key = append(rec.Key, k.v)
		}
		for _, c := range r.Row {
			rec.Row = append(rec.Row, c.v)
		}
		p.Records = append(p.Records, rec)
	}
	return p
}

func loadVectors[T any](t testing.TB, file string, atLeast int) []T {
	t.Helper()
	data, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var vectors []T
	if err := json.Unmarshal(data, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) < atLeast {
		t.Fatalf("only %d vectors", len(vectors))
	}
	return vectors
}

func TestPushVectors(t *testing.T) {
	for _, v := range loadVectors[pushVector](t, "pushes.json", 30) {
		t.Run(v.Name, func(t *testing.T) {
			p, err := Unmarshal(v.Bytes)
			switch v.Want {
			case "parses":
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(v.push(), p); diff != "" {
					t.Errorf("parsed (-want +got):\n%s", diff)
				}
				b, err := v.push().Marshal()
				if err != nil || !bytes.Equal(b, v.Bytes) {
					t.Errorf("encoded to %x, error %v", b, err)
				}
			case "version":
				if !errors.Is(err, ErrPushVersion) || errors.Is(err, ErrMalformed) {
					t.Errorf("error %v", err)
				}
			case "malformed":
				if !errors.Is(err, ErrMalformed) || errors.Is(err, ErrPushVersion) {
					t.Errorf("error %v", err)
				}
			default:
				t.Errorf("unknown expectation %q", v.Want)
			}
		})
	}
}

func TestMarshalRefuses(t *testing.T) {
	table := Table{Name: "t", Columns: []string{"a", "b"}, Key: []string{"a"}}
	one := func(r Record) Push { return Push{Tables: []Table{table}, Records: []Record{r}} }
	for name, p := range map[string]Push{
		"negative version":       {SchemaVersion: -1},
		"unknown table":          {Tables: []Table{table}, Records: []Record{{Table: 1, Key: []Value{int64(1)}}}},
		"negative table":         {Tables: []Table{table}, Records: []Record{{Table: -1, Key: []Value{int64(1)}}}},
		"key of another length":  one(Record{Key: []Value{int64(1), int64(2)}}),
		"row of another length":  one(Record{Key: []Value{int64(1)}, Row: []Value{int64(1)}}),
		"key differs from row":   one(Record{Key: []Value{int64(1)}, Row: []Value{int64(2), nil}}),
		"key of another class":   one(Record{Key: []Value{int64(1)}, Row: []Value{1.0, nil}}),
		"NULL in a key":          one(Record{Key: []Value{nil}}),
		"NULL in a row's key":    one(Record{Key: []Value{nil}, Row: []Value{nil, nil}}),
		"int":                    one(Record{Key: []Value{int64(1)}, Row: []Value{int64(1), 1}}),
		"bool":                   one(Record{Key: []Value{int64(1)}, Row: []Value{int64(1), true}}),
		"NaN":                    one(Record{Key: []Value{int64(1)}, Row: []Value{int64(1), math.NaN()}}),
		"key column not present": {Tables: []Table{{Name: "t", Columns: []string{"a"}, Key: []string{"c"}}}},
		"too many columns":       {Tables: []Table{{Name: "t", Columns: make([]string, maxColumns+1), Key: []string{""}}}},
	} {
		if b, err := p.Marshal(); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %x, %v", name, b, err)
		}
	}
}

func TestSalvage(t *testing.T) {
	p := Push{Base: true, Tables: []Table{{Name: "t", Columns: []string{"a", "b"}, Key: []string{"a"}}}}
	for i := range 50_000 { // several zstd blocks
		p.Records = append(p.Records, Record{Key: []Value{int64(i)}, Row: []Value{int64(i), fmt.Sprintf("%x", i*7919)}})
	}
	for _, base := range []bool{true, false} {
		p.Base = base
		b, err := p.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		bodies := split(Cursor{}, b, base, 1000)
		if diff := cmp.Diff(p, Salvage(bodies, base)); diff != "" {
			t.Errorf("all parts, base %v:\n%s", base, diff)
		}
		half := Salvage(bodies[:len(bodies)*9/10], base)
		if n := len(half.Records); n == 0 || n >= len(p.Records) {
			t.Errorf("most parts, base %v: %d records", base, n)
		} else if diff := cmp.Diff(p.Records[:n], half.Records); diff != "" {
			t.Errorf("most parts, base %v:\n%s", base, diff)
		}
		if got := Salvage(nil, base); len(got.Records) != 0 {
			t.Errorf("no part gives %v", got)
		}
	}
}

func TestDecompressedSizeIsCapped(t *testing.T) {
	bomb := compress(nil, make([]byte, MaxPush+1))
	if len(bomb) > 1<<20 {
		t.Fatalf("bomb of %d bytes", len(bomb))
	}
	if _, err := decompress(bomb); !errors.Is(err, ErrTooLarge) {
		t.Errorf("error %v, want ErrTooLarge", err)
	}
	if _, err := decompress([]byte("no zstd")); !errors.Is(err, ErrMalformed) {
		t.Errorf("error %v, want ErrMalformed", err)
	}
}

func FuzzUnmarshal(f *testing.F) {
	for _, v := range loadVectors[pushVector](f, "pushes.json", 30) {
		f.Add([]byte(v.Bytes))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Unmarshal(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrPushVersion) {
				t.Errorf("unnamed error %v", err)
			}
			return
		}
		again, err := p.Marshal()
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("parsed, but encodes to %x: %v", again, err)
		}
	})
}
