package cloudstore_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"cloudsession/shared/cloudstore"
)

// A dead connector's sessions are taken by several others at once, each once.
func TestFailoverByMany(t *testing.T) {
	const sessions, takers, atOnce = 90, 3, 6
	s, _ := migrated(t)
	register(t, s, "dead", "taker 0", "taker 1", "taker 2")
	for i := range sessions {
		mustTake(t, s, fmt.Sprintf("session %d", i), "dead")
	}
	if err := s.RetireConnector(t.Context(), "dead", "dead/1"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	var wg sync.WaitGroup
	for lane := range takers * atOnce {
		wg.Go(func() {
			for i := lane; i < sessions; i += takers * atOnce {
				r := request(fmt.Sprintf("session %d", i), fmt.Sprintf("taker %d", lane%takers))
				r.MayCreate = false
				if taken, err := s.Take(t.Context(), r); err != nil || taken.Epoch != 2 {
					t.Errorf("take: epoch %d, %v", taken.Epoch, err)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%.0f takes a second", sessions/time.Since(began).Seconds())
	for i := range takers {
		owners, err := s.OwnersOf(t.Context(), fmt.Sprintf("taker %d", i))
		if err != nil || len(owners) != sessions/takers {
			t.Errorf("taker %d has %d sessions, %v", i, len(owners), err)
		}
	}
}

// An owner is dead only if the very process that holds the session is: one that
// took its place on the same connector lives.
func TestFailoverFromALaterProcess(t *testing.T) {
	s, _ := migrated(t)
	register(t, s, "a", "b")
	mustTake(t, s, "x", "a")
	if err := s.RetireConnector(t.Context(), "a", "a/1"); err != nil {
		t.Fatal(err)
	}
	again := cloudstore.Connector{ID: "a", Incarnation: "a/2"}
	if err := s.RegisterConnector(t.Context(), again, "a/1", lease); err != nil {
		t.Fatal(err)
	}
	r := request("x", "b")
	r.MayCreate = false
	if _, err := s.Take(t.Context(), r); err == nil {
		t.Error("a session was taken from a connector that lives")
	}
}
