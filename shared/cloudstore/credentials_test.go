package cloudstore_test

import (
	"errors"
	"fmt"
	"testing"

	"cloudsession/shared/cloudstore"
)

func creds(session string, epoch uint64, text string) cloudstore.Credentials {
	return cloudstore.Credentials{SessionID: session, Epoch: epoch, Data: []byte(text)}
}

func wantCredentials(t *testing.T, s *cloudstore.Store, session, text string, epoch uint64) {
	t.Helper()
	got, err := s.Credentials(t.Context(), session)
	if err != nil {
		t.Fatal(err)
	}
	if string(got.Data) != text || got.Epoch != epoch {
		t.Errorf("credentials %q at epoch %d, want %q at %d", got.Data, got.Epoch, text, epoch)
	}
}

func TestCredentialsGuard(t *testing.T) {
	s, config := migrated(t)
	register(t, s, "a")
	if _, err := s.Credentials(t.Context(), "x"); !errors.Is(err, cloudstore.ErrNotFound) {
		t.Fatalf("credentials of an unknown session: %v", err)
	}
	if err := s.PutCredentials(t.Context(), creds("x", 1, "early")); !errors.Is(err, cloudstore.ErrFenced) {
		t.Errorf("credentials of a session nobody owns: %v, want fenced", err)
	}
	mustTake(t, s, "x", "a")
	for range 2 { // the same again is harmless
		if err := s.PutCredentials(t.Context(), creds("x", 1, "first")); err != nil {
			t.Fatal(err)
		}
	}
	wantCredentials(t, s, "x", "first", 1)

	mustTake(t, s, "x", "a")
	wantCredentials(t, s, "x", "first", 2) // the take raises the epoch
	if err := s.PutCredentials(t.Context(), creds("x", 1, "stale")); !errors.Is(err, cloudstore.ErrFenced) {
		t.Errorf("credentials of the last epoch: %v, want fenced", err)
	}
	if err := s.PutCredentials(t.Context(), creds("x", 3, "future")); !errors.Is(err, cloudstore.ErrFenced) {
		t.Errorf("credentials of an epoch that never was: %v, want fenced", err)
	}
	wantCredentials(t, s, "x", "first", 2)
	if err := s.PutCredentials(t.Context(), creds("x", 2, "second")); err != nil {
		t.Fatal(err)
	}
	wantCredentials(t, s, "x", "second", 2)
	if n := count(t, rawDB(t, config), "SELECT MAX(id) - MIN(id) + COUNT(*) FROM whatsapp_sessions"); n != 1 {
		t.Errorf("ids were used up: %d", n)
	}
}

// The row's epoch alone holds a stale writer off, whatever the owner row says.
func TestCredentialsGuardInTheRow(t *testing.T) {
	s, config := migrated(t)
	register(t, s, "a")
	mustTake(t, s, "x", "a")
	if err := s.PutCredentials(t.Context(), creds("x", 1, "first")); err != nil {
		t.Fatal(err)
	}
	mustExec(t, rawDB(t, config), "UPDATE whatsapp_sessions SET epoch = 7")
	if err := s.PutCredentials(t.Context(), creds("x", 1, "stale")); !errors.Is(err, cloudstore.ErrFenced) {
		t.Errorf("credentials older than the row: %v, want fenced", err)
	}
	wantCredentials(t, s, "x", "first", 7)
	// A take goes beyond both.
	if taken := mustTake(t, s, "x", "a"); taken.Epoch != 8 {
		t.Errorf("taken at epoch %d, want 8", taken.Epoch)
	}
}

func TestAppendFirstBase(t *testing.T) {
	s, _ := migrated(t)
	register(t, s, "a")
	mustTake(t, s, "x", "a")
	base := segment("x", 1, 1, cloudstore.KindBase, "")
	for range 2 {
		outcome, err := s.AppendFirstBase(t.Context(), base, creds("x", 1, "c"))
		if err != nil || outcome != cloudstore.Durable {
			t.Fatalf("%v, %v", outcome, err)
		}
	}
	wantCredentials(t, s, "x", "c", 1)
	other := segment("x", 1, 1, cloudstore.KindBase, "other")
	if outcome, err := s.AppendFirstBase(t.Context(), other, creds("x", 1, "other")); err != nil || outcome != cloudstore.Fenced {
		t.Errorf("other bytes in the same place: %v, %v; want fenced", outcome, err)
	}
	mustTake(t, s, "x", "a")
	next := segment("x", 1, 2, cloudstore.KindBase, "")
	if outcome, err := s.AppendFirstBase(t.Context(), next, creds("x", 1, "late")); err != nil || outcome != cloudstore.Fenced {
		t.Errorf("base of an old epoch: %v, %v; want fenced", outcome, err)
	}
	wantCredentials(t, s, "x", "c", 2)

	for name, call := range map[string]struct {
		seg cloudstore.Segment
		c   cloudstore.Credentials
	}{
		"delta":            {segment("x", 2, 1, cloudstore.KindDelta, ""), creds("x", 2, "c")},
		"another session":  {segment("x", 2, 1, cloudstore.KindBase, ""), creds("y", 2, "c")},
		"another epoch":    {segment("x", 2, 1, cloudstore.KindBase, ""), creds("x", 1, "c")},
		"no credentials":   {segment("x", 2, 1, cloudstore.KindBase, ""), creds("x", 2, "")},
		"not the last one": {func() cloudstore.Segment { b := base; b.Epoch, b.Parts = 2, 2; return b }(), creds("x", 2, "c")},
	} {
		if _, err := s.AppendFirstBase(t.Context(), call.seg, call.c); !errors.Is(err, cloudstore.ErrBadInput) {
			t.Errorf("%s: %v, want bad input", name, err)
		}
	}
}

// Both the last part and the credentials are there, or neither.
func TestAppendFirstBaseAnswerLost(t *testing.T) {
	for _, afterwards := range []bool{false, true} {
		t.Run(fmt.Sprintf("after commit %v", afterwards), func(t *testing.T) {
			direct, config := migrated(t)
			register(t, direct, "a")
			mustTake(t, direct, "x", "a")
			p := newProxy(t, config)
			s := open(t, p.config)
			p.cut("COMMIT", afterwards)
			outcome, err := s.AppendFirstBase(t.Context(), segment("x", 1, 1, cloudstore.KindBase, ""), creds("x", 1, "c"))
			if err != nil || outcome != cloudstore.Durable || p.cuts() != 1 {
				t.Fatalf("%v, %v, %d cuts", outcome, err, p.cuts())
			}
			wantCredentials(t, direct, "x", "c", 1)
			if rows := allSegments(t, direct, "x", 1); len(rows) != 1 {
				t.Errorf("%d rows, want 1", len(rows))
			}
		})
	}
}

func TestTouchAndCopySynced(t *testing.T) {
	s, config := migrated(t)
	db := rawDB(t, config)
	register(t, s, "a")
	for _, id := range []string{"x", "y", "z"} {
		mustTake(t, s, id, "a")
		if err := s.PutCredentials(t.Context(), creds(id, 1, "c")); err != nil {
			t.Fatal(err)
		}
	}
	mustExec(t, db, "UPDATE whatsapp_sessions SET last_synced_at = '2026-01-22 10:30:45'")
	mustTake(t, s, "y", "a")
	// y's epoch is over; "gone" never was.
	if err := s.Touch(t.Context(), []cloudstore.SessionEpoch{{SessionID: "x", Epoch: 1}, {SessionID: "y", Epoch: 1}, {SessionID: "gone", Epoch: 1}}); err != nil {
		t.Fatal(err)
	}
	x, err := s.Owner(t.Context(), "x")
	if err != nil || x.SyncedAt.IsZero() {
		t.Errorf("x was synced at %v, %v", x.SyncedAt, err)
	}
	if y, err := s.Owner(t.Context(), "y"); err != nil || !y.SyncedAt.IsZero() {
		t.Errorf("y was synced at %v, %v; its epoch was over", y.SyncedAt, err)
	}
	status, err := s.SessionStatus(t.Context(), "x")
	if err != nil || status.LastSyncedAt == nil || !status.LastSyncedAt.Equal(x.SyncedAt) {
		t.Errorf("status says %v, %v; want the later time %v", status.LastSyncedAt, err, x.SyncedAt)
	}
	if err := s.CopySynced(t.Context(), []string{"x", "y", "z", "gone"}); err != nil {
		t.Fatal(err)
	}
	if n := count(t, db, "SELECT COUNT(*) FROM whatsapp_sessions WHERE last_synced_at > '2026-02-01'"); n != 1 {
		t.Errorf("%d rows were brought up to date, want x only", n)
	}
	if n := count(t, db, "SELECT COUNT(*) FROM whatsapp_sessions w, session_owners o WHERE w.session_id = 'x' AND o.session_id = 'x' AND w.last_synced_at <= o.synced_at"); n != 1 {
		t.Error("the copied time lies behind the push")
	}
}
