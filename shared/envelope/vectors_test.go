package envelope

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// hexBytes is a byte string written in hexadecimal.
type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// vector is one case of testdata/vectors.json, which testdata/vectors.py makes
// from the specification alone.
type vector struct {
	Name     string
	Secrets  []string
	Position struct {
		SessionID string `json:"session_id"`
		Epoch     uint64
		Seq       uint64
		Part      uint16
		Parts     uint16
		PrevTag   hexBytes `json:"prev_tag"`
	}
	Data       hexBytes
	Want       string
	Kind       Kind
	Compressed bool
	Salt       hexBytes
	IV         hexBytes
	Body       hexBytes
	KeyID      hexBytes `json:"key_id"`
	Current    bool
}

var errorNames = map[string]error{
	"truncated":       ErrTruncated,
	"not an envelope": ErrNotEnvelope,
	"version":         ErrVersion,
	"tampered":        ErrTampered,
	"other session":   ErrOtherSession,
	"wrong secret":    ErrUnknownKey,
	"malformed":       ErrMalformed,
	"too large":       ErrTooLarge,
}

func (v vector) pos() Position {
	p := v.Position
	return Position{p.SessionID, p.Epoch, p.Seq, p.Part, p.Parts, [32]byte(p.PrevTag)}
}

func loadVectors(t testing.TB) []vector {
	t.Helper()
	data, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	if err := json.Unmarshal(data, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) < 40 {
		t.Fatalf("only %d vectors", len(vectors))
	}
	return vectors
}

func TestVectors(t *testing.T) {
	rings := map[string]*Keyring{}
	for _, v := range loadVectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			id := strings.Join(v.Secrets, ",")
			if rings[id] == nil {
				rings[id] = newTestKeyring(t, v.Secrets...)
			}
			k := rings[id]
			opened, err := k.Open(v.pos(), v.Data)
			if v.Want != "opens" {
				requireOnly(t, err, errorNames[v.Want])
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := Opened{v.Kind, v.Compressed, Salt(v.Salt), v.Body, [4]byte(v.KeyID), v.Current}
			if diff := cmp.Diff(want, opened); diff != "" {
				t.Errorf("opened (-want +got):\n%s", diff)
			}
			if v.Current {
				data, tag, err := k.seal(v.Kind, v.Compressed, v.pos(), Salt(v.Salt), [16]byte(v.IV), v.Body)
				if err != nil || !bytes.Equal(data, v.Data) || !bytes.HasSuffix(data, tag[:]) {
					t.Errorf("sealing gives other bytes, error %v", err)
				}
			}
		})
	}
}

// requireOnly checks that err is want and none of the other errors.
func requireOnly(t *testing.T, err, want error) {
	t.Helper()
	if want == nil {
		t.Fatal("vector names an unknown error")
	}
	for name, e := range errorNames {
		if errors.Is(err, e) != errors.Is(want, e) {
			t.Fatalf("error is %v, want %v; differs in %q", err, want, name)
		}
	}
}

func newTestKeyring(t testing.TB, secrets ...string) *Keyring {
	t.Helper()
	k, err := NewKeyring(secrets[0], secrets[1:]...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}
