package cloudstore_test

import (
	"database/sql"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudsession/shared/cloudstore"
)

// expire ends a connector's lease.
func expire(t *testing.T, db *sql.DB, id string) {
	t.Helper()
	mustExec(t, db, "UPDATE connectors SET lease_until = NOW(6) - INTERVAL 1 MINUTE WHERE connector_id = ?", id)
}

func wantVitals(t *testing.T, s *cloudstore.Store, what string, want cloudstore.Vitals) {
	t.Helper()
	got, err := s.Vitals(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestVitals(t *testing.T) {
	s, config := migrated(t)
	db := rawDB(t, config)
	wantVitals(t, s, "nothing yet", cloudstore.Vitals{})
	register(t, s, "a", "b")
	for session, connector := range map[string]string{"x": "a", "y": "b", "closed": "b", "banned": "b", "deleted": "b"} {
		mustTake(t, s, session, connector)
	}
	if err := errors.Join(s.SetWanted(t.Context(), "closed", "closed"), s.SetBackup(t.Context(), "deleted", "off")); err != nil {
		t.Fatal(err)
	}
	mustExec(t, db, "UPDATE session_owners SET not_before = NOW(6) + INTERVAL 1 HOUR WHERE session_id = 'banned'")
	renew := func(id string, lag time.Duration) {
		t.Helper()
		if _, err := s.RenewLease(t.Context(), id, id+"/1", lease, cloudstore.Load{SyncLag: lag}); err != nil {
			t.Fatal(err)
		}
	}
	renew("a", 1500*time.Millisecond)
	renew("b", 2*time.Minute)
	wantVitals(t, s, "all live", cloudstore.Vitals{LiveConnectors: 2, SyncLag: 2 * time.Minute, SessionsOpen: 4})

	expire(t, db, "b")
	stale := cloudstore.Vitals{LiveConnectors: 1, StaleConnectors: 1, SyncLag: 1500 * time.Millisecond, SessionsOpen: 1, SessionsWithoutOwner: 1}
	wantVitals(t, s, "a lease that is over, and its lag with it", stale)
	mustExec(t, db, "UPDATE connectors SET renewed_since = NOW(6) - INTERVAL 2 HOUR WHERE connector_id = 'a'")
	if buried, err := s.BuryConnector(t.Context(), "b", "a", "a/1", 0); err != nil || !buried {
		t.Fatal(buried, err)
	}
	wantVitals(t, s, "buried: stale all the same", stale)

	create(t, s, command("x", cloudstore.CommandSync, "", ""))
	mustExec(t, db, "UPDATE commands SET deadline = NOW(6) - INTERVAL 1 SECOND")
	stale.CommandsOverdue = 1
	wantVitals(t, s, "an overdue command", stale)
	if _, err := s.ExpireCommands(t.Context()); err != nil {
		t.Fatal(err)
	}

	if err := s.RegisterConnector(t.Context(), cloudstore.Connector{ID: "b", Incarnation: "b/2"}, "", lease); err != nil {
		t.Fatal(err)
	}
	// y's owner is b again, whichever incarnation: it takes the session back first of all.
	wantVitals(t, s, "back", cloudstore.Vitals{LiveConnectors: 2, SyncLag: 1500 * time.Millisecond, SessionsOpen: 4})
	for id, incarnation := range map[string]string{"a": "a/1", "b": "b/2"} {
		if err := s.RetireConnector(t.Context(), id, incarnation); err != nil {
			t.Fatal(err)
		}
	}
	wantVitals(t, s, "stopped in order", cloudstore.Vitals{SessionsWithoutOwner: 2})
	if err := s.SetWanted(t.Context(), "closed", cloudstore.WantedRest); err != nil {
		t.Fatal(err)
	}
	wantVitals(t, s, "one has ended, and its application has not taken all of it", cloudstore.Vitals{SessionsWithoutOwner: 3})
}

// What an earlier version wrote says nothing of how its processes ended.
func TestVitalsOfEarlierRows(t *testing.T) {
	s, config := migrated(t)
	db := rawDB(t, config)
	register(t, s, "dead", "silent", "live")
	mustExec(t, db, "UPDATE connectors SET retired = NULL")
	mustExec(t, db, "UPDATE connectors SET dead = TRUE WHERE connector_id = 'dead'")
	expire(t, db, "silent")
	wantVitals(t, s, "one is dead, one was not buried", cloudstore.Vitals{LiveConnectors: 1, StaleConnectors: 1})
}

// A watcher that was deployed before the connectors' tables were brought up to
// date says what to do.
func TestVitalsBeforeMigration(t *testing.T) {
	s, config := migrated(t)
	mustExec(t, rawDB(t, config), "ALTER TABLE connectors DROP COLUMN retired")
	if _, err := s.Vitals(t.Context()); err == nil || !strings.Contains(err.Error(), "run connector migrate") {
		t.Errorf("older tables: %v", err)
	}
}

func TestForgetConnector(t *testing.T) {
	s, config := migrated(t)
	db := rawDB(t, config)
	register(t, s, "gone")
	if err := s.ForgetConnector(t.Context(), "gone"); !errors.Is(err, cloudstore.ErrStillLive) {
		t.Errorf("forget a live connector: %v", err)
	}
	if err := s.ForgetConnector(t.Context(), "nobody"); !errors.Is(err, cloudstore.ErrNotFound) {
		t.Errorf("forget an unknown connector: %v", err)
	}
	expire(t, db, "gone")
	wantVitals(t, s, "stale", cloudstore.Vitals{StaleConnectors: 1})
	for range 2 {
		if err := s.ForgetConnector(t.Context(), "gone"); err != nil {
			t.Fatal(err)
		}
		wantVitals(t, s, "forgotten", cloudstore.Vitals{})
	}
	if c, err := s.Connector(t.Context(), "gone"); err != nil || c.Dead {
		t.Errorf("forgetting declared it dead: %+v, %v", c, err)
	}
	// It was only away: whoever renews is watched again.
	if _, err := s.RenewLease(t.Context(), "gone", "gone/1", lease, cloudstore.Load{}); err != nil {
		t.Fatal(err)
	}
	expire(t, db, "gone")
	wantVitals(t, s, "away again", cloudstore.Vitals{StaleConnectors: 1})
}
