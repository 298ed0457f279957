package manager

import (
	"context"
	"testing"

	"cloudsession/connector/replicate"
	"cloudsession/shared/cloudstore"
)

// taken takes session "x" for this connector.
func (o *office) taken() cloudstore.Taken {
	o.t.Helper()
	taken, err := o.direct.Take(o.t.Context(), cloudstore.TakeRequest{
		SessionID: "x", ConnectorID: "me", Incarnation: o.m.opt.Lease.Incarnation(), Reason: "test", MayCreate: true,
		Nonce: [16]byte{1},
		Judge: func(context.Context, cloudstore.Parent) (string, error) { return replicate.StartNew, nil },
	})
	if err != nil {
		o.t.Fatal(err)
	}
	return taken
}

// A push was on its way while the session was deleted from the cloud: parts of it stand there all the same.
// The owner, who finds out why it was refused, removes them.
func TestOwnerFinishesDelete(t *testing.T) {
	o := newOffice(t)
	taken := o.taken()
	row := func(seq uint64, kind cloudstore.SegmentKind, part uint16) cloudstore.Segment {
		return cloudstore.Segment{
			SessionID: "x", Epoch: taken.Epoch, Seq: seq, Kind: kind, Part: part, Parts: 3, Data: []byte("data"), Tag: [32]byte{byte(seq)},
		}
	}
	first := row(1, cloudstore.KindBase, 1)
	first.Parts = 1
	creds := cloudstore.Credentials{SessionID: "x", Data: []byte("data"), Epoch: taken.Epoch}
	if _, err := o.direct.AppendFirstBase(t.Context(), first, creds); err != nil {
		t.Fatal(err)
	}
	if err := o.direct.DeleteSession(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	late := []cloudstore.Segment{row(2, cloudstore.KindDelta, 1), row(3, cloudstore.KindDelta, 2), row(4, cloudstore.KindDelta, 3)}
	if got, err := o.direct.AppendSegments(t.Context(), late); err != nil || got[0] != cloudstore.Fenced {
		t.Fatalf("late push: %v, %v", got, err)
	}
	s, err := o.m.entry("x")
	if err != nil {
		t.Fatal(err)
	}
	held := &opened{taken: taken}
	o.m.fenced(s, held)
	if !held.local.Load() {
		t.Error("the session doesn't go on locally")
	}
	rows, err := o.direct.Segments(t.Context(), "x", taken.Epoch, 1, 100)
	if err != nil || len(rows) == 0 {
		t.Fatalf("%d rows, %v; want the mark", len(rows), err)
	}
	for _, row := range rows {
		if len(row.Data) > 0 {
			t.Errorf("row %d, a %s, is left", row.Seq, row.Kind)
		}
	}
}
