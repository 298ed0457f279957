package manager

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"testing"

	"cloudsession/connector/ownership"
	"cloudsession/connector/replicate"
	"cloudsession/shared/cloudstore"
)

// Each way in which a session is lost has a name of its own, from a list.
func TestLossesHaveNames(t *testing.T) {
	m := &Manager{opt: Options{Lease: &ownership.Lease{}}} // its connector's id is empty
	o := &opened{taken: cloudstore.Taken{Epoch: 5}}
	for name, c := range map[string]struct {
		owner cloudstore.Owner
		want  Loss
	}{
		"taken":    {cloudstore.Owner{ConnectorID: "b", Epoch: 6}, LossTaken},
		"database": {cloudstore.Owner{ConnectorID: "b", Epoch: 4}, LossDatabase},
	} {
		what, why := m.standing(c.owner, o)
		if what != standLost || why.kind != c.want || why.text == "" || !slices.Contains(Losses(), why.kind) {
			t.Errorf("%s: %v, %+v", name, what, why)
		}
	}
}

// A code that a command's row may hold is among those that are counted.
func TestCodesAreListed(t *testing.T) {
	codes := Codes()
	for _, err := range []error{
		ErrFull, replicate.ErrFenced, context.DeadlineExceeded, io.ErrUnexpectedEOF, fmt.Errorf("anything"),
		fmt.Errorf("open: %w", ErrElsewhere),
	} {
		if code, _ := outcomeOf(err); !slices.Contains(codes, code) {
			t.Errorf("%v has the code %q, which isn't listed", err, code)
		}
	}
	slices.Sort(codes)
	if len(slices.Compact(slices.Clone(codes))) != len(codes) {
		t.Errorf("codes are listed twice: %v", codes)
	}
}

// A manager that nobody observes works all the same.
func TestNobodyObserves(t *testing.T) {
	m := New(Options{Log: slog.New(slog.DiscardHandler)})
	m.opt.Observer.Taken(replicate.StartNew)
	if v := m.Overview(); v.Load.SyncLag != 0 || len(v.States) != 0 {
		t.Errorf("an empty manager shows %+v", v)
	}
}
