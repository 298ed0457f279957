package cloudstore_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"cloudsession/shared/cloudstore"
)

func TestRegisterConnector(t *testing.T) {
	s, _ := migrated(t)
	try := func(incarnation, stored string) error {
		c := cloudstore.Connector{ID: "c", Incarnation: incarnation, QueueURL: "q", Version: "v1", Capacity: 7}
		return s.RegisterConnector(t.Context(), c, stored, lease)
	}
	steps := []struct {
		incarnation, stored string
		retire              string
		want                error
	}{
		{"1", "", "", nil},
		{"1", "", "", nil}, // the answer was lost
		{"2", "", "", cloudstore.ErrIncarnation},
		{"2", "0", "", cloudstore.ErrIncarnation},
		{"2", "1", "", nil}, // restarted on the same data directory
		{"3", "1", "", cloudstore.ErrIncarnation},
		{"2", "2", "2", cloudstore.ErrIncarnation}, // declared dead: never again
		{"3", "", "2", nil},                        // the last one ended cleanly
	}
	for _, step := range steps {
		if step.retire != "" {
			if err := s.RetireConnector(t.Context(), "c", step.retire); err != nil {
				t.Fatal(err)
			}
		}
		if err := try(step.incarnation, step.stored); !errors.Is(err, step.want) {
			t.Errorf("register %q with %q stored: %v, want %v", step.incarnation, step.stored, err, step.want)
		}
	}
	got, err := s.Connector(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	want := cloudstore.Connector{ID: "c", Incarnation: "3", QueueURL: "q", Version: "v1", Capacity: 7, Live: true}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreTypes(time.Time{})); diff != "" {
		t.Errorf("connector (-want +got):\n%s", diff)
	}
	if _, err := s.Connector(t.Context(), "nobody"); !errors.Is(err, cloudstore.ErrNotFound) {
		t.Errorf("unknown connector: %v", err)
	}
	if err := try("", ""); !errors.Is(err, cloudstore.ErrBadInput) {
		t.Errorf("no incarnation: %v", err)
	}
}

func TestRegisterRace(t *testing.T) {
	s, _ := migrated(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for i := range 6 {
		wg.Go(func() {
			c := cloudstore.Connector{ID: "c", Incarnation: string(rune('a' + i))}
			err := s.RegisterConnector(t.Context(), c, "", lease)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else if !errors.Is(err, cloudstore.ErrIncarnation) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won != 1 {
		t.Errorf("%d processes hold one connector id", won)
	}
}

func TestRenewLease(t *testing.T) {
	s, config := migrated(t)
	db := rawDB(t, config)
	register(t, s, "c")
	load := cloudstore.Load{Capacity: 9, Sessions: 4, Draining: true}
	first, err := s.RenewLease(t.Context(), "c", "c/1", lease, load)
	if err != nil {
		t.Fatal(err)
	}
	if d := first.LeaseUntil.Sub(first.Now); d <= 0 || d > lease {
		t.Errorf("granted %s, want %s", d, lease)
	}
	second, err := s.RenewLease(t.Context(), "c", "c/1", lease, load)
	if err != nil || !second.RenewedSince.Equal(first.RenewedSince) || !second.LeaseUntil.After(first.LeaseUntil) {
		t.Errorf("second grant %+v after %+v, %v", second, first, err)
	}
	// After a break it counts anew.
	mustExec(t, db, "UPDATE connectors SET lease_until = NOW(6) - INTERVAL 1 SECOND")
	third, err := s.RenewLease(t.Context(), "c", "c/1", lease, load)
	if err != nil || !third.RenewedSince.After(second.RenewedSince) {
		t.Errorf("grant after a break %+v, %v", third, err)
	}
	c, err := s.Connector(t.Context(), "c")
	if err != nil || c.Capacity != 9 || c.Sessions != 4 || !c.Draining || !c.Live {
		t.Errorf("connector %+v, %v", c, err)
	}
	for _, bad := range [][2]string{{"c", "c/0"}, {"d", "c/1"}} {
		if _, err := s.RenewLease(t.Context(), bad[0], bad[1], lease, load); !errors.Is(err, cloudstore.ErrFenced) {
			t.Errorf("renew as %v: %v, want fenced", bad, err)
		}
	}
	if err := s.RetireConnector(t.Context(), "c", "c/1"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.RenewLease(t.Context(), "c", "c/1", lease, load); !errors.Is(err, cloudstore.ErrFenced) {
		t.Errorf("renew when dead: %v, want fenced", err)
	}
}

func TestBuryNamesake(t *testing.T) {
	s, config := migrated(t)
	db := rawDB(t, config)
	register(t, s, "c")
	want := func(what, incarnation string, buried bool) {
		t.Helper()
		if got, err := s.BuryNamesake(t.Context(), "c", incarnation, time.Hour); err != nil || got != buried {
			t.Errorf("%s: buried %v, %v; want %v", what, got, err, buried)
		}
	}
	want("fresh lease", "c/1", false)
	mustExec(t, db, "UPDATE connectors SET lease_until = NOW(6) - INTERVAL 30 MINUTE")
	want("within the margin", "c/1", false)
	mustExec(t, db, "UPDATE connectors SET lease_until = NOW(6) - INTERVAL 2 HOUR")
	want("another process than the one watched", "c/0", false)
	want("all conditions", "c/1", true)
	want("buried already", "c/1", false)
	if _, err := s.RenewLease(t.Context(), "c", "c/1", lease, cloudstore.Load{}); !errors.Is(err, cloudstore.ErrFenced) {
		t.Errorf("the buried renews: %v, want fenced", err)
	}
	if err := s.RegisterConnector(t.Context(), cloudstore.Connector{ID: "c", Incarnation: "c/2"}, "", lease); err != nil {
		t.Errorf("the name is not free: %v", err)
	}
}

func TestBuryConnector(t *testing.T) {
	s, config := migrated(t)
	db := rawDB(t, config)
	register(t, s, "judge", "sick")
	bury := func() (bool, error) {
		return s.BuryConnector(t.Context(), "sick", "judge", "judge/1", time.Hour)
	}
	want := func(what string, buried bool) {
		t.Helper()
		if got, err := bury(); err != nil || got != buried {
			t.Errorf("%s: buried %v, %v; want %v", what, got, err, buried)
		}
	}
	want("fresh lease", false)
	mustExec(t, db, "UPDATE connectors SET lease_until = NOW(6) - INTERVAL 2 HOUR WHERE connector_id = 'sick'")
	want("a judge of a moment's standing", false)
	mustExec(t, db, "UPDATE connectors SET renewed_since = NOW(6) - INTERVAL 2 HOUR WHERE connector_id = 'judge'")
	mustExec(t, db, "UPDATE connectors SET lease_until = NOW(6) - INTERVAL 30 MINUTE WHERE connector_id = 'sick'")
	want("within the margin", false)
	mustExec(t, db, "UPDATE connectors SET lease_until = NOW(6) - INTERVAL 2 HOUR WHERE connector_id = 'sick'")
	mustExec(t, db, "UPDATE connectors SET lease_until = NOW(6) - INTERVAL 1 SECOND WHERE connector_id = 'judge'")
	want("a judge without lease", false)
	// One that wakes up judges nobody until it has renewed for a whole lease.
	if _, err := s.RenewLease(t.Context(), "judge", "judge/1", lease, cloudstore.Load{}); err != nil {
		t.Fatal(err)
	}
	want("a judge after a break", false)
	mustExec(t, db, "UPDATE connectors SET renewed_since = NOW(6) - INTERVAL 2 HOUR WHERE connector_id = 'judge'")
	want("all conditions", true)
	want("buried already", false)
	if _, err := s.RenewLease(t.Context(), "sick", "sick/1", lease, cloudstore.Load{}); !errors.Is(err, cloudstore.ErrFenced) {
		t.Errorf("the buried renews: %v, want fenced", err)
	}
	if _, err := s.BuryConnector(t.Context(), "sick", "judge", "judge/0", 0); !errors.Is(err, cloudstore.ErrIncarnation) {
		t.Errorf("a judge that was replaced: %v", err)
	}
	c, err := s.Connector(t.Context(), "sick")
	if err != nil || !c.Dead || c.Live {
		t.Errorf("the buried: %+v, %v", c, err)
	}
}

// A renewal and a burial at once: either it lives and the lease is extended, or
// it is dead and the renewal says so.
func TestRenewAgainstBury(t *testing.T) {
	s, config := migrated(t)
	db := rawDB(t, config)
	register(t, s, "judge")
	for range 15 {
		mustExec(t, db, "DELETE FROM connectors WHERE connector_id = 'sick'")
		register(t, s, "sick")
		mustExec(t, db, "UPDATE connectors SET renewed_since = NOW(6) - INTERVAL 2 HOUR, lease_until = NOW(6) + INTERVAL 1 HOUR WHERE connector_id = 'judge'")
		mustExec(t, db, "UPDATE connectors SET lease_until = NOW(6) - INTERVAL 1 MINUTE WHERE connector_id = 'sick'")
		var wg sync.WaitGroup
		var renewErr, buryErr error
		var buried bool
		wg.Go(func() { _, renewErr = s.RenewLease(t.Context(), "sick", "sick/1", lease, cloudstore.Load{}) })
		wg.Go(func() { buried, buryErr = s.BuryConnector(t.Context(), "sick", "judge", "judge/1", 0) })
		wg.Wait()
		if buryErr != nil || renewErr != nil && !errors.Is(renewErr, cloudstore.ErrFenced) {
			t.Fatal(renewErr, buryErr)
		}
		if buried == (renewErr == nil) {
			t.Errorf("buried %v, renewal %v", buried, renewErr)
		}
	}
}

func TestTakeable(t *testing.T) {
	s, _ := migrated(t)
	register(t, s, "me", "dead", "alive")
	take := func(session, connector string) {
		mustTake(t, s, session, connector)
	}
	take("mine", "me")
	take("dead's", "dead")
	take("alive's", "alive")
	for _, free := range []string{"free", "free, reserved for me", "free, reserved for another", "free, closed"} {
		take(free, "alive")
	}
	for session, reserve := range map[string]string{"free": "", "free, reserved for me": "me", "free, reserved for another": "alive", "free, closed": ""} {
		wanted := cloudstore.WantedOpen
		if session == "free, closed" {
			wanted = cloudstore.WantedClosed
		}
		if err := s.Release(t.Context(), session, 1, reserve, time.Hour, wanted); err != nil {
			t.Fatal(err)
		}
	}
	take("dead's, manual", "dead")
	if err := s.SetFailover(t.Context(), "dead's, manual", cloudstore.FailoverManual); err != nil {
		t.Fatal(err)
	}
	take("dead's, deleted", "dead")
	if err := s.SetBackup(t.Context(), "dead's, deleted", cloudstore.BackupOff); err != nil {
		t.Fatal(err)
	}
	if err := s.RetireConnector(t.Context(), "dead", "dead/1"); err != nil {
		t.Fatal(err)
	}
	owners, err := s.Takeable(t.Context(), "me", 100)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range owners {
		got = append(got, o.SessionID)
	}
	want := []string{"free, reserved for me", "dead's", "free"} // its own are OwnersOf's
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("takeable (-want +got):\n%s", diff)
	}
	if owners, err := s.Takeable(t.Context(), "me", 2); err != nil || len(owners) != 2 {
		t.Errorf("%d of at most 2, %v", len(owners), err)
	}
	for _, session := range want {
		r := request(session, "me")
		r.MayCreate = false
		if _, err := s.Take(t.Context(), r); err != nil {
			t.Errorf("take of a session that was listed: %v", err)
		}
	}
}

func TestOwnerSettings(t *testing.T) {
	s, _ := migrated(t)
	register(t, s, "a")
	mustTake(t, s, "x", "a")
	mustTake(t, s, "y", "a")
	long := string(make([]byte, 5000)) + "☕\xff"
	if err := s.SetState(t.Context(), "x", 1, "connected", long); err != nil {
		t.Fatal(err)
	}
	if err := s.SetState(t.Context(), "x", 1, "disconnected", "ended \xff by peer"); err != nil {
		t.Fatal(err)
	}
	if err := s.SetState(t.Context(), "x", 2, "connected", ""); !errors.Is(err, cloudstore.ErrFenced) {
		t.Errorf("state of another epoch: %v, want fenced", err)
	}
	for range 2 { // the same value again is no error
		if err := errors.Join(s.SetWanted(t.Context(), "x", "closed"), s.SetBackup(t.Context(), "x", "credentials"), s.SetFailover(t.Context(), "x", "manual")); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.SetWanted(t.Context(), "x", "maybe"); !errors.Is(err, cloudstore.ErrBadInput) {
		t.Errorf("wanted maybe: %v", err)
	}
	if err := s.SetBackup(t.Context(), "unknown", "off"); !errors.Is(err, cloudstore.ErrNotFound) {
		t.Errorf("backup of an unknown session: %v", err)
	}
	owners, err := s.OwnersOf(t.Context(), "a")
	if err != nil || len(owners) != 2 {
		t.Fatalf("%d sessions, %v", len(owners), err)
	}
	want := cloudstore.Owner{
		SessionID: "x", ConnectorID: "a", Epoch: 1, Wanted: "closed", State: "disconnected",
		StateDetail: "ended \uFFFD by peer", Backup: "credentials", Failover: "manual",
	}
	if diff := cmp.Diff(want, owners[0], cmpopts.IgnoreTypes(time.Time{})); diff != "" {
		t.Errorf("owner (-want +got):\n%s", diff)
	}
	for range 2 {
		if err := s.Release(t.Context(), "y", 1, "b", time.Hour, ""); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Release(t.Context(), "y", 7, "", 0, ""); !errors.Is(err, cloudstore.ErrFenced) {
		t.Errorf("release of another epoch: %v, want fenced", err)
	}
	y, err := s.Owner(t.Context(), "y")
	if left := time.Until(y.ReservedUntil); err != nil || y.ConnectorID != "" || y.ReservedFor != "b" || left <= 0 || left > time.Hour {
		t.Errorf("released: %+v, %v", y, err)
	}
}
