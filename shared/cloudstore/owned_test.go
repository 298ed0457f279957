package cloudstore_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"cloudsession/shared/cloudstore"
)

// What a heartbeat compares is read again after every change of it, and not for
// what an owner says about its sessions all the time.
func TestRefreshOwned(t *testing.T) {
	s, config := migrated(t)
	db := rawDB(t, config)
	register(t, s, "a", "b")
	known := refresh(t, s, cloudstore.Owned{})
	if len(known.Rows) != 0 {
		t.Fatalf("owns %+v before anything was taken", known.Rows)
	}
	mustTake(t, s, "x", "a")
	mustTake(t, s, "y", "a")
	mustTake(t, s, "theirs", "b")
	steps := []struct {
		name string
		do   func() error
	}{
		{"take", func() error { return nil }},
		{"wanted", func() error { return s.SetWanted(t.Context(), "x", cloudstore.WantedClosed) }},
		{"wanted of another", func() error { return s.SetWanted(t.Context(), "y", cloudstore.WantedClosed) }},
		{"wanted of both again", func() error {
			_, err := db.ExecContext(t.Context(), "UPDATE session_owners SET wanted = 'open' WHERE connector_id = 'a'")
			return err
		}},
		{"backup", func() error { return s.SetBackup(t.Context(), "x", cloudstore.BackupCredentials) }},
		{"failover", func() error { return s.SetFailover(t.Context(), "x", cloudstore.FailoverManual) }},
		{"ban", func() error {
			_, err := db.ExecContext(t.Context(), "UPDATE session_owners SET not_before = NOW(6) + INTERVAL 1 HOUR WHERE session_id = 'x'")
			return err
		}},
		{"epoch", func() error {
			_, err := db.ExecContext(t.Context(), "UPDATE session_owners SET epoch = epoch + 1 WHERE session_id = 'y'")
			return err
		}},
		{"release", func() error { return s.Release(t.Context(), "x", 1, "", 0, "") }},
		{"swap", func() error { // as many rows as before, another session
			mustTake(t, s, "z", "a")
			o, err := s.Owner(t.Context(), "y")
			if err != nil {
				return err
			}
			return s.Release(t.Context(), "y", o.Epoch, "", 0, "")
		}},
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		known = refresh(t, s, known)
		want, err := s.OwnersOf(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, known.Rows, cmpopts.EquateApproxTime(0)); diff != "" {
			t.Errorf("after %s (-want +got):\n%s", step.name, diff)
		}
	}
	if err := s.SetState(t.Context(), "z", 1, "connected", ""); err != nil {
		t.Fatal(err)
	}
	if after := refresh(t, s, known); after.Rows[0].State != "" {
		t.Error("the rows were read again for a state")
	}
}

func refresh(t *testing.T, s *cloudstore.Store, known cloudstore.Owned) cloudstore.Owned {
	t.Helper()
	owned, err := s.RefreshOwned(t.Context(), "a", known)
	if err != nil {
		t.Fatal(err)
	}
	return owned
}

// BenchmarkOwned is what a heartbeat of a connector with 1,000 sessions asks for,
// and what it would read instead.
func BenchmarkOwned(b *testing.B) {
	s, config := migrated(b)
	register(b, s, "a")
	db := rawDB(b, config)
	for i := range 1000 {
		mustExec(b, db, "INSERT INTO session_owners (session_id, connector_id, epoch, state) VALUES (?, 'a', 1, 'connected')", fmt.Sprintf("session %d", i))
	}
	b.Run("digest", func(b *testing.B) {
		known, err := s.RefreshOwned(b.Context(), "a", cloudstore.Owned{})
		for b.Loop() && err == nil {
			known, err = s.RefreshOwned(b.Context(), "a", known)
		}
		if err != nil {
			b.Fatal(err)
		}
	})
	b.Run("rows", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.OwnersOf(b.Context(), "a"); err != nil {
				b.Fatal(err)
			}
		}
	})
}
