package cloudstore_test

import (
	"errors"
	"fmt"
	"testing"

	"cloudsession/shared/cloudstore"
)

// The answer to a take's COMMIT is lost: the nonce tells whose epoch it is, and
// none is used up twice.
func TestTakeCommitLost(t *testing.T) {
	for _, afterwards := range []bool{false, true} {
		t.Run(fmt.Sprintf("after commit %v", afterwards), func(t *testing.T) {
			direct, config := migrated(t)
			register(t, direct, "a")
			mustTake(t, direct, "x", "a")
			base := segment("x", 1, 1, cloudstore.KindBase, "")
			appendAll(t, direct, base)
			p := newProxy(t, config)
			s := open(t, p.config)
			p.cut("COMMIT", afterwards)
			taken := mustTake(t, s, "x", "a")
			if p.cuts() != 1 {
				t.Fatalf("%d answers cut, want 1", p.cuts())
			}
			if taken.Epoch != 2 || taken.ParentSeq != 1 || taken.ParentTag != base.Tag || taken.Start != cloudstore.StartSafe {
				t.Errorf("taken: %+v", taken)
			}
			if taken.Parent.LastSeq != 1 || !taken.Parent.HasLog {
				t.Errorf("what the judge saw is lost: %+v", taken.Parent)
			}
			db := rawDB(t, config)
			if n := count(t, db, "SELECT COUNT(*) FROM session_epochs"); n != 2 {
				t.Errorf("%d epochs, want 2", n)
			}
			if n := count(t, db, "SELECT COUNT(*) FROM session_segments WHERE kind = 'fence'"); n != 1 {
				t.Errorf("%d fences, want 1", n)
			}
		})
	}
}

// The answer is lost and the database stays away. Whoever asks again with the
// same nonce gets the same epoch, unless it has been taken away since.
func TestTakeCommitLostForLong(t *testing.T) {
	direct, config := migrated(t)
	register(t, direct, "a", "b")
	mustTake(t, direct, "x", "a")
	p := newProxy(t, config)
	s := open(t, p.config)
	r := request("x", "a")
	p.cut("COMMIT", true)
	p.thenDown()
	if _, err := s.Take(t.Context(), r); !cloudstore.IsUnavailable(err) {
		t.Fatalf("take: %v, want unavailable", err)
	}
	p.up()
	taken, err := s.Take(t.Context(), r)
	if err != nil || taken.Epoch != 2 {
		t.Fatalf("the same take again: epoch %d, %v; want 2", taken.Epoch, err)
	}
	if err := direct.RetireConnector(t.Context(), "a", "a/1"); err != nil {
		t.Fatal(err)
	}
	mustTake(t, direct, "x", "b")
	if _, err := s.Take(t.Context(), r); !errors.Is(err, cloudstore.ErrNotTakeable) {
		t.Errorf("the same take after it was lost to another: %v", err)
	}
}

// A take is committed, its answer lost, and somebody else takes the session
// before the taker asks: it must not believe that it has it.
func TestTakeCommitLostAndTakenAway(t *testing.T) {
	direct, config := migrated(t)
	register(t, direct, "a", "b")
	mustTake(t, direct, "x", "a")
	p := newProxy(t, config)
	s := open(t, p.config)
	p.afterCut(func() {
		if err := direct.Release(t.Context(), "x", 2, "", 0, ""); err != nil {
			t.Error(err)
		}
		if _, err := direct.Take(t.Context(), request("x", "b")); err != nil {
			t.Error(err)
		}
	})
	p.cut("COMMIT", true)
	_, err := s.Take(t.Context(), request("x", "a"))
	if !errors.Is(err, cloudstore.ErrFenced) {
		t.Errorf("take: %v, want fenced", err)
	}
	if o, err := direct.Owner(t.Context(), "x"); err != nil || o.ConnectorID != "b" || o.Epoch != 3 {
		t.Errorf("owner %+v, %v; want b at epoch 3", o, err)
	}
}
