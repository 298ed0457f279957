package sessionlog

import (
	"bytes"
	"errors"
	"testing"

	"cloudsession/shared/cloudstore"
	"cloudsession/shared/envelope"
)

// logVector is one case of testdata/logs.json: a lineage as it stands in the
// database, and what Read makes of it. Verify says the same unless it has an
// expectation of its own.
type logVector struct {
	Name      string
	Secrets   []string
	SessionID string `json:"session_id"`
	Lineage   []struct {
		Epoch       uint64
		ParentEpoch uint64 `json:"parent_epoch"`
		ParentSeq   uint64 `json:"parent_seq"`
		Start       string
		Segments    []struct {
			SessionID   string `json:"session_id"`
			Epoch, Seq  uint64
			Kind        string
			Part, Parts uint16
			Data, Tag   hexBytes
		}
	}
	Want    string
	Verify  string
	Applied []hexBytes
	Skipped int
	Sealed  bool
}

var errorNames = map[string]error{
	"missing":         ErrMissing,
	"repeated":        ErrRepeated,
	"reordered":       ErrReordered,
	"other session":   ErrSwapped,
	"altered":         ErrTampered,
	"wrong secret":    ErrWrongSecret,
	"unknown version": ErrRowVersion,
	"salts":           ErrTwoSalts,
	"no base":         ErrNoBase,
	"malformed":       ErrMalformed,
}

func (v logVector) lineage() []EpochRows {
	var lineage []EpochRows
	for _, e := range v.Lineage {
		rows := EpochRows{Epoch: e.Epoch, ParentEpoch: e.ParentEpoch, ParentSeq: e.ParentSeq, Start: e.Start}
		for _, s := range e.Segments {
			rows.Segments = append(rows.Segments, cloudstore.Segment{
				SessionID: s.SessionID, Epoch: s.Epoch, Seq: s.Seq, Kind: cloudstore.SegmentKind(s.Kind),
				Part: s.Part, Parts: s.Parts, Data: s.Data, Tag: [32]byte(s.Tag),
			})
		}
		lineage = append(lineage, rows)
	}
	return lineage
}

func TestLogVectors(t *testing.T) {
	rings := map[string]*envelope.Keyring{}
	for _, v := range loadVectors[logVector](t, "logs.json", 40) {
		t.Run(v.Name, func(t *testing.T) {
			ring := v.Secrets[0] + v.Secrets[len(v.Secrets)-1]
			if rings[ring] == nil {
				rings[ring] = newKeyring(t, v.Secrets...)
			}
			var applied []hexBytes
			got, err := Read(rings[ring], v.SessionID, v.lineage(), func(p Push) error {
				b, err := p.Marshal()
				applied = append(applied, b)
				return err
			})
			checkOutcome(t, "Read", v.Want, err)
			if v.Want == "reads" {
				checkApplied(t, v, applied, got)
			}
			want := v.Want
			if v.Verify != "" {
				want = v.Verify
			}
			_, err = Verify(rings[ring], v.SessionID, v.lineage(), nil)
			checkOutcome(t, "Verify", want, err)
		})
	}
}

func checkOutcome(t *testing.T, call, want string, err error) {
	t.Helper()
	if want == "reads" {
		if err != nil {
			t.Errorf("%s: %v", call, err)
		}
		return
	}
	if errorNames[want] == nil {
		t.Fatalf("vector names an unknown error %q", want)
	}
	for name, e := range errorNames {
		if errors.Is(err, e) != (name == want) {
			t.Fatalf("%s: error is %v, want %s", call, err, want)
		}
	}
}

func checkApplied(t *testing.T, v logVector, applied []hexBytes, got Result) {
	t.Helper()
	if len(applied) != len(v.Applied) || got.Pushes != len(v.Applied) {
		t.Fatalf("applied %d pushes, counted %d, want %d", len(applied), got.Pushes, len(v.Applied))
	}
	for i := range applied {
		if !bytes.Equal(applied[i], v.Applied[i]) {
			t.Errorf("push %d is %x, want %x", i, applied[i], v.Applied[i])
		}
	}
	if got.SkippedIncomplete != v.Skipped || got.Sealed != v.Sealed {
		t.Errorf("skipped %d, sealed %v, want %d, %v", got.SkippedIncomplete, got.Sealed, v.Skipped, v.Sealed)
	}
}

func newKeyring(t testing.TB, secrets ...string) *envelope.Keyring {
	t.Helper()
	k, err := envelope.NewKeyring(secrets[0], secrets[1:]...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}
