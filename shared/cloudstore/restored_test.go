package cloudstore_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"cloudsession/shared/cloudstore"
)

// After a restore of the database from a backup every session starts safe, on
// the same lineage, at an epoch no process has ever had.
func TestMarkDatabaseRestored(t *testing.T) {
	s, config := migrated(t)
	register(t, s, "a")
	backedUp(t, s, "live", "a")
	backedUp(t, s, "sealed", "a")
	appendAll(t, s, segment("sealed", 2, 4, cloudstore.KindSeal, ""))
	if err := s.Release(t.Context(), "sealed", 2, "", 0, ""); err != nil {
		t.Fatal(err)
	}
	backedUp(t, s, "deleted", "a")
	if err := s.DeleteSession(t.Context(), "deleted"); err != nil {
		t.Fatal(err)
	}
	mustExec(t, rawDB(t, config), "INSERT INTO whatsapp_sessions (session_id, session_data) VALUES ('node', 'x')")

	before := time.Now().Add(-time.Minute)
	for range 2 { // interrupted or repeated, it does no harm
		if n, err := s.MarkDatabaseRestored(t.Context()); err != nil || n != 3 {
			t.Fatalf("marked %d, %v; want 3", n, err)
		}
	}
	for _, session := range []string{"live", "sealed"} {
		o, err := s.Owner(t.Context(), session)
		if err != nil || o.ConnectorID != "" || o.Epoch < uint64(before.UnixMicro()) {
			t.Errorf("%s: %+v, %v", session, o, err)
		}
		// What its owner still sends is fenced.
		got, err := s.AppendSegments(t.Context(), []cloudstore.Segment{segment(session, 2, 4, cloudstore.KindDelta, "late")})
		if err != nil || got[0] != cloudstore.Fenced {
			t.Errorf("%s: late push: %v, %v", session, got, err)
		}
		r := request(session, "a")
		r.MayCreate = false
		judged := false
		judge := r.Judge
		r.Judge = func(ctx context.Context, p cloudstore.Parent) (string, error) {
			judged = true
			if p.Terminator != nil || p.Epoch.Epoch != o.Epoch {
				t.Errorf("%s: the judge sees %+v", session, p)
			}
			return judge(ctx, p)
		}
		taken, err := s.Take(t.Context(), r)
		if err != nil || !judged || taken.ParentEpoch != 2 || taken.ParentSeq != 3 || taken.Start != cloudstore.StartSafe {
			t.Errorf("%s: taken %+v, %v", session, taken, err)
		}
		if _, err := s.Lineage(t.Context(), session, taken.Epoch); err != nil {
			t.Errorf("%s: %v", session, err)
		}
	}
	// Only its owner has what was deleted from the cloud, and goes on with it.
	if o, err := s.Owner(t.Context(), "deleted"); err != nil || o.ConnectorID != "a" || o.Epoch < uint64(before.UnixMicro()) {
		t.Errorf("a session without backup: %+v, %v", o, err)
	}
	r := request("deleted", "a")
	r.MayCreate = false
	if taken, err := s.Take(t.Context(), r); err != nil || taken.Parent.Owner.Backup != cloudstore.BackupOff {
		t.Errorf("a session without backup, taken by its owner: %+v, %v", taken, err)
	}
	if o, err := s.Owner(t.Context(), "node"); !errors.Is(err, cloudstore.ErrNotFound) {
		t.Errorf("a row nobody took: %+v, %v", o, err)
	}
}

// A session whose rows are incomplete keeps none of the others from being marked.
func TestMarkDatabaseRestoredWithIncompleteRows(t *testing.T) {
	s, config := migrated(t)
	register(t, s, "a")
	for _, session := range []string{"first", "incomplete", "last"} {
		backedUp(t, s, session, "a")
	}
	mustExec(t, rawDB(t, config), "DELETE FROM session_epochs WHERE session_id = 'incomplete'")
	n, err := s.MarkDatabaseRestored(t.Context())
	if n != 2 || !errors.Is(err, cloudstore.ErrNotFound) || !strings.Contains(err.Error(), `"incomplete"`) {
		t.Errorf("marked %d, %v; want 2, and the other one named", n, err)
	}
	for _, session := range []string{"first", "last"} {
		if o, err := s.Owner(t.Context(), session); err != nil || o.ConnectorID != "" {
			t.Errorf("%s: %+v, %v", session, o, err)
		}
	}
}

// What is left of a damaged log must not pass for all there is: it is refused as a take
// refuses it, and stays damaged for whoever looks at it next.
func TestMarkDatabaseRestoredWithDamagedLogs(t *testing.T) {
	s, config := migrated(t)
	register(t, s, "a")
	lost := map[string]uint64{"middle": 2, "head": 1}
	for session, seq := range lost {
		mustTake(t, s, session, "a")
		for seq := range uint64(4) {
			kind := cloudstore.KindDelta
			if seq == 0 {
				kind = cloudstore.KindBase
			}
			appendAll(t, s, segment(session, 1, seq+1, kind, ""))
		}
		mustExec(t, rawDB(t, config), "DELETE FROM session_segments WHERE session_id = ? AND seq = ?", session, seq)
	}
	backedUp(t, s, "whole", "a")
	n, err := s.MarkDatabaseRestored(t.Context())
	if n != 1 || !errors.Is(err, cloudstore.ErrLogDamaged) || !strings.Contains(err.Error(), `"middle"`) || !strings.Contains(err.Error(), `"head"`) {
		t.Errorf("marked %d, %v; want 1, and the damaged ones named", n, err)
	}
	for session := range lost {
		if p := mustTake(t, s, session, "a").Parent; !p.Damaged {
			t.Errorf("%s passes for whole: %+v", session, p)
		}
	}
}
