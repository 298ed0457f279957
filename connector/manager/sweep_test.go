package manager

import (
	"context"
	"testing"
	"time"

	"cloudsession/shared/cloudstore"
)

// A session that was closed because its changes could not be pushed is opened again
// after a rest. Meanwhile no sweep gives its place away.
func TestPlaceOfARestingSession(t *testing.T) {
	o := newOffice(t)
	for _, id := range []string{"own", "free"} {
		if _, err := o.direct.Take(t.Context(), cloudstore.TakeRequest{
			SessionID: id, ConnectorID: "me", Incarnation: o.m.opt.Lease.Incarnation(), Reason: "test", Nonce: [16]byte{id[0]}, MayCreate: true,
			Judge: func(context.Context, cloudstore.Parent) (string, error) { return cloudstore.StartNew, nil },
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.direct.Release(t.Context(), "free", 1, "", 0, cloudstore.WantedOpen); err != nil {
		t.Fatal(err)
	}
	// Its lease, too.
	if _, err := o.direct.RenewLease(t.Context(), "me", o.m.opt.Lease.Incarnation(), time.Hour, cloudstore.Load{Capacity: 1}); err != nil {
		t.Fatal(err)
	}
	own, err := o.m.entry("own")
	if err != nil {
		t.Fatal(err)
	}
	swept := func() (tried bool) {
		t.Helper()
		for _, step := range []func(context.Context) error{o.m.compare, o.m.sweep} {
			if err := step(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		o.m.tasks.Wait()
		_, tried = o.m.sessions["free"]
		return tried
	}
	own.failed(time.Now().Add(time.Hour)) // its rest outlasts the test
	if swept() {
		t.Error("the place of a resting session was given away")
	}
	if err := o.direct.Release(t.Context(), "own", 1, "", 0, cloudstore.WantedClosed); err != nil {
		t.Fatal(err)
	}
	if !swept() {
		t.Error("the place is free, and nobody has it: this test shows nothing")
	}
}
