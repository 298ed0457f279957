package cloudstore_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"cloudsession/shared/cloudstore"
)

// During the pause of a session that has ended nobody takes it: no sweep, no
// person, not its own connector. Afterwards anybody may, and the pause is gone.
func TestEndWithPause(t *testing.T) {
	s, config := migrated(t)
	register(t, s, "a")
	register(t, s, "b")
	taken := mustTake(t, s, "banned", "a")
	ban := cloudstore.Ending{State: "banned", Detail: "until later", Wanted: cloudstore.WantedOpen, Pause: time.Hour}
	if err := s.End(t.Context(), "banned", taken.Epoch+1, ban); !errors.Is(err, cloudstore.ErrFenced) {
		t.Errorf("end of another's term: %v, want fenced", err)
	}
	if err := s.End(t.Context(), "banned", taken.Epoch, ban); err != nil {
		t.Fatal(err)
	}
	refused := func(connector string) {
		t.Helper()
		r := request("banned", connector)
		r.ByCommand = true
		if _, err := s.Take(t.Context(), r); !errors.Is(err, cloudstore.ErrNotYet) {
			t.Errorf("take by %s during the pause: %v, want ErrNotYet", connector, err)
		}
		owners, err := s.Takeable(t.Context(), connector, 10)
		if err != nil || len(owners) != 0 {
			t.Errorf("takeable by %s: %+v, %v", connector, owners, err)
		}
	}
	refused("a")
	if err := s.Release(t.Context(), "banned", taken.Epoch, "", 0, ""); err != nil {
		t.Fatal(err)
	}
	refused("a")
	refused("b")
	o, err := s.Owner(t.Context(), "banned")
	if err != nil || o.State != "banned" || o.StateDetail != "until later" || time.Until(o.NotBefore) < 50*time.Minute {
		t.Errorf("owner %+v, %v", o, err)
	}

	mustExec(t, rawDB(t, config), "UPDATE session_owners SET not_before = NOW(6) - INTERVAL 1 SECOND")
	owners, err := s.Takeable(t.Context(), "b", 10)
	if err != nil || !slices.ContainsFunc(owners, func(o cloudstore.Owner) bool { return o.SessionID == "banned" }) {
		t.Errorf("takeable after the pause: %+v, %v", owners, err)
	}
	mustTake(t, s, "banned", "b")
	if o, err = s.Owner(t.Context(), "banned"); err != nil || !o.NotBefore.IsZero() {
		t.Errorf("owner after the pause %+v, %v", o, err)
	}
}

// Of what has ended with something left to deliver the end stands in the row, and
// whoever finds it without a holder takes it for that.
func TestEndWithRest(t *testing.T) {
	s, config := migrated(t)
	register(t, s, "a")
	register(t, s, "b")
	taken := mustTake(t, s, "unlinked", "a")
	end := cloudstore.Ending{State: "logged_out", Wanted: cloudstore.WantedRest}
	if err := s.End(t.Context(), "unlinked", taken.Epoch, end); err != nil {
		t.Fatal(err)
	}
	mustExec(t, rawDB(t, config), "UPDATE connectors SET dead = 1 WHERE connector_id = 'a'")
	owners, err := s.Takeable(t.Context(), "b", 10)
	if err != nil || len(owners) != 1 || owners[0].Wanted != cloudstore.WantedRest {
		t.Errorf("takeable: %+v, %v", owners, err)
	}
	r := request("unlinked", "b")
	r.AnyWanted, r.MayCreate = false, false
	if taken, err = s.Take(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	owner, err := s.Owner(t.Context(), "unlinked")
	if err != nil || owner.Wanted != cloudstore.WantedRest || owner.State != "logged_out" {
		t.Errorf("taken by a sweep: %+v, %v", owner, err)
	}
	if err := s.Release(t.Context(), "unlinked", taken.Epoch, "", 0, cloudstore.WantedRest); err != nil {
		t.Error(err)
	}
	for keep, wanted := range map[bool]string{true: cloudstore.WantedRest, false: cloudstore.WantedOpen} {
		r = request("unlinked", "b")
		r.AnyWanted, r.ByCommand, r.MayCreate, r.KeepWanted = true, true, false, keep
		if taken, err = s.Take(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if owner, err = s.Owner(t.Context(), "unlinked"); err != nil || owner.Wanted != wanted {
			t.Errorf("taken by name, keeping %v: %+v, %v", keep, owner, err)
		}
		if err := s.Release(t.Context(), "unlinked", taken.Epoch, "", 0, cloudstore.WantedRest); err != nil {
			t.Error(err)
		}
	}
}

// What has ended for good is wanted closed from that statement on: nobody takes
// it from a connector that dies before it could release it.
func TestEndForGood(t *testing.T) {
	s, config := migrated(t)
	register(t, s, "a")
	register(t, s, "b")
	taken := mustTake(t, s, "unlinked", "a")
	err := s.End(t.Context(), "unlinked", taken.Epoch, cloudstore.Ending{State: "logged_out", Wanted: cloudstore.WantedClosed})
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, rawDB(t, config), "UPDATE connectors SET dead = 1 WHERE connector_id = 'a'")
	r := request("unlinked", "b")
	r.AnyWanted = false
	r.MayCreate = false
	if _, err := s.Take(t.Context(), r); !errors.Is(err, cloudstore.ErrNotTakeable) {
		t.Errorf("failover of a session that has ended: %v, want not takeable", err)
	}
	r.AnyWanted, r.ByCommand = true, true
	if _, err := s.Take(t.Context(), r); err != nil {
		t.Errorf("a person asks for it: %v", err)
	}
	for _, bad := range []cloudstore.Ending{{Wanted: "later"}, {Wanted: cloudstore.WantedOpen, Pause: -1}} {
		if err := s.End(t.Context(), "unlinked", 2, bad); !errors.Is(err, cloudstore.ErrBadInput) {
			t.Errorf("end %+v: %v, want bad input", bad, err)
		}
	}
}
