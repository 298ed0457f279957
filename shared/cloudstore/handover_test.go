package cloudstore_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudsession/shared/cloudstore"
)

// O6: the session is free for the target and the command is the target's, both
// or neither.
func TestHandOver(t *testing.T) {
	s, _ := migrated(t)
	register(t, s, "a", "b", "c")
	mustTake(t, s, "x", "a")
	c := create(t, s, command("x", cloudstore.CommandRestore, "a", `{"connector":"b"}`))
	if _, claimed, err := s.ClaimCommand(t.Context(), c.ID, "a", "a/1"); err != nil || !claimed {
		t.Fatalf("claim: %v, %v", claimed, err)
	}
	h := cloudstore.Handover{SessionID: "x", Epoch: 2, Target: "b", Reserve: time.Hour, CommandID: c.ID, Incarnation: "a/1"}
	if err := s.HandOver(t.Context(), h); !errors.Is(err, cloudstore.ErrFenced) {
		t.Errorf("hand over under another epoch: %v, want fenced", err)
	}
	if row, err := s.Command(t.Context(), c.ID); err != nil || row.State != cloudstore.CommandRunning || row.ConnectorID != "a" {
		t.Errorf("the refused handover moved the command: %+v, %v", row, err)
	}
	h.Epoch = 1
	for range 2 { // a second time does no harm
		if err := s.HandOver(t.Context(), h); err != nil {
			t.Fatal(err)
		}
	}
	owner, err := s.Owner(t.Context(), "x")
	if err != nil || owner.ConnectorID != "" || owner.ReservedFor != "b" || owner.Wanted != cloudstore.WantedOpen {
		t.Errorf("owner row: %+v, %v", owner, err)
	}
	if row, err := s.Command(t.Context(), c.ID); err != nil || row.State != cloudstore.CommandQueued || row.ConnectorID != "b" {
		t.Errorf("command: %+v, %v", row, err)
	}
	r := request("x", "c")
	r.MayCreate = false
	if _, err := s.Take(t.Context(), r); !errors.Is(err, cloudstore.ErrNotTakeable) {
		t.Errorf("another's sweep took it: %v", err)
	}
	if _, claimed, err := s.ClaimCommand(t.Context(), c.ID, "b", "b/1"); err != nil || !claimed {
		t.Errorf("the target's claim: %v, %v", claimed, err)
	}
	if taken := mustTake(t, s, "x", "b"); taken.Epoch != 2 {
		t.Errorf("the target took epoch %d", taken.Epoch)
	}
}

// A command that ran out meanwhile doesn't keep the session from moving.
func TestHandOverOfAnExpiredCommand(t *testing.T) {
	s, config := migrated(t)
	register(t, s, "a", "b")
	mustTake(t, s, "x", "a")
	c := create(t, s, command("x", cloudstore.CommandRestore, "a", `{"connector":"b"}`))
	mustExec(t, rawDB(t, config), "UPDATE commands SET state = 'expired' WHERE command_id = ?", c.ID)
	h := cloudstore.Handover{SessionID: "x", Epoch: 1, Target: "b", Reserve: time.Hour, CommandID: c.ID, Incarnation: "a/1"}
	if err := s.HandOver(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	if row, err := s.Command(t.Context(), c.ID); err != nil || row.State != cloudstore.CommandExpired {
		t.Errorf("command: %+v, %v", row, err)
	}
	if listed, err := s.Takeable(t.Context(), "b", 10); err != nil || len(listed) != 1 {
		t.Errorf("the target's sweep sees %+v, %v", listed, err)
	}
}

func TestUnreserve(t *testing.T) {
	s, _ := migrated(t)
	register(t, s, "a", "b", "c")
	mustTake(t, s, "x", "a")
	if err := s.Unreserve(t.Context(), "x", "a", "", 0); err != nil {
		t.Error(err)
	}
	if owner, err := s.Owner(t.Context(), "x"); err != nil || owner.ConnectorID != "a" {
		t.Errorf("a session that is held: %+v, %v", owner, err)
	}
	if err := s.Release(t.Context(), "x", 1, "b", time.Hour, ""); err != nil {
		t.Fatal(err)
	}
	takeable := func() int {
		t.Helper()
		listed, err := s.Takeable(t.Context(), "c", 10)
		if err != nil {
			t.Fatal(err)
		}
		return len(listed)
	}
	for _, by := range []string{"c", "b"} {
		if n := takeable(); n != 0 {
			t.Errorf("before %s gave its place up: %d takeable", by, n)
		}
		if err := s.Unreserve(t.Context(), "x", by, "a", time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	if owner, err := s.Owner(t.Context(), "x"); err != nil || owner.ReservedFor != "a" || takeable() != 0 {
		t.Errorf("passed on to a: %+v, %v", owner, err)
	}
	if err := s.Unreserve(t.Context(), "x", "a", "", 0); err != nil {
		t.Fatal(err)
	}
	if n := takeable(); n != 1 {
		t.Errorf("without a reservation: %d takeable", n)
	}
}

func TestWantedSessions(t *testing.T) {
	s, _ := migrated(t)
	register(t, s, "a")
	for _, id := range []string{"a1", "b1", "closed", "manual", "off", "z1"} {
		mustTake(t, s, id, "a")
	}
	for _, err := range []error{
		s.SetWanted(t.Context(), "closed", cloudstore.WantedClosed),
		s.SetFailover(t.Context(), "manual", cloudstore.FailoverManual),
		s.SetBackup(t.Context(), "off", cloudstore.BackupOff),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	first, err := s.WantedSessions(t.Context(), "", 2)
	if err != nil {
		t.Fatal(err)
	}
	rest, err := s.WantedSessions(t.Context(), first[len(first)-1], 10)
	if diff := cmp.Diff([]string{"a1", "b1", "z1"}, append(first, rest...)); err != nil || diff != "" {
		t.Errorf("%v, wanted sessions (-want +got):\n%s", err, diff)
	}
}
