package cloudstore_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"cloudsession/infra/local/tidbtest"
	"cloudsession/shared/cloudstore"
)

// seedSessions makes n rows of the Node service, synced a minute apart, the
// last one never.
func seedSessions(t *testing.T, config cloudstore.Config, n int) (ids []string) {
	t.Helper()
	db := rawDB(t, config)
	for i := range n {
		id := fmt.Sprintf("session %03d", i)
		mustExec(t, db, "INSERT INTO whatsapp_sessions (session_id, session_data, last_synced_at) VALUES (?, 'x', ? + INTERVAL ? MINUTE)", id, "2026-01-22 10:30:45", i)
		ids = append(ids, id)
	}
	mustExec(t, db, "UPDATE whatsapp_sessions SET last_synced_at = NULL WHERE session_id = ?", ids[n-1])
	return ids
}

func names(sessions []cloudstore.Session) (ids []string) {
	for _, s := range sessions {
		ids = append(ids, s.SessionID)
	}
	return ids
}

func TestListNewestFirst(t *testing.T) {
	s, config := migrated(t)
	if sessions, next, err := s.ListSessions(t.Context(), 0, ""); err != nil || len(sessions) != 0 || next != "" {
		t.Errorf("empty table: %v, %q, %v", sessions, next, err)
	}
	seedSessions(t, config, 5)
	register(t, s, "a")
	// Taken and pushed: the owner's time is the later one, though not copied yet.
	r := request("session 001", "a")
	if _, err := s.Take(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if err := s.Touch(t.Context(), []cloudstore.SessionEpoch{{SessionID: "session 001", Epoch: 1}}); err != nil {
		t.Fatal(err)
	}
	sessions, next, err := s.ListSessions(t.Context(), 0, "")
	if err != nil || next != "" {
		t.Fatal(next, err)
	}
	want := []string{"session 001", "session 003", "session 002", "session 000", "session 004"}
	if diff := cmp.Diff(want, names(sessions)); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	if at := sessions[3].LastSyncedAt; at == nil || at.Format(time.RFC3339) != "2026-01-22T10:30:45Z" {
		t.Errorf("synced at %v", at)
	}
	if sessions[4].LastSyncedAt != nil {
		t.Errorf("never synced, but at %v", sessions[4].LastSyncedAt)
	}
	if sessions[0].CreatedAt.IsZero() || sessions[0].CreatedAt.Location() != time.UTC {
		t.Errorf("created at %v", sessions[0].CreatedAt)
	}
}

// However much is synced, added and deleted between the pages, a session that
// is there all the time comes exactly once.
func TestListPagesAreStable(t *testing.T) {
	s, config := migrated(t)
	db := rawDB(t, config)
	rnd := random(t)
	ids := seedSessions(t, config, 120)
	deleted := map[string]bool{}
	seen := map[string]int{}
	cursor, pages := "", 0
	for {
		limit := 1 + rnd.IntN(30)
		page, next, err := s.ListSessions(t.Context(), limit, cursor)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) > limit || next != "" && len(page) != limit {
			t.Errorf("page of %d for limit %d, next %q", len(page), limit, next)
		}
		for _, id := range names(page) {
			seen[id]++
		}
		if pages++; next == "" {
			break
		}
		cursor = next
		for range 10 { // all sorts of syncs
			mustExec(t, db, "UPDATE whatsapp_sessions SET last_synced_at = NOW() - INTERVAL ? SECOND WHERE session_id = ?", rnd.IntN(1e6), ids[rnd.IntN(len(ids))])
		}
		gone := ids[rnd.IntN(len(ids))]
		mustExec(t, db, "DELETE FROM whatsapp_sessions WHERE session_id = ?", gone)
		deleted[gone] = true
		mustExec(t, db, "INSERT INTO whatsapp_sessions (session_id, session_data, last_synced_at) VALUES (?, 'x', NOW())", fmt.Sprintf("new %d", pages))
	}
	for _, id := range ids {
		if n := seen[id]; n > 1 || n == 0 && !deleted[id] {
			t.Errorf("%s came %d times in %d pages (deleted: %v)", id, n, pages, deleted[id])
		}
	}
}

func TestListLimits(t *testing.T) {
	s, config := migrated(t)
	ids := seedSessions(t, config, 3)
	if _, _, err := s.ListSessions(t.Context(), -1, ""); !errors.Is(err, cloudstore.ErrBadInput) {
		t.Errorf("limit -1: %v", err)
	}
	if all, next, err := s.ListSessions(t.Context(), 1<<30, ""); err != nil || len(all) != 3 || next != "" {
		t.Errorf("huge limit: %d, %q, %v", len(all), next, err)
	}
	first, next, err := s.ListSessions(t.Context(), 2, "")
	if err != nil || next == "" {
		t.Fatal(next, err)
	}
	second, end, err := s.ListSessions(t.Context(), 2, next)
	if err != nil || end != "" {
		t.Fatal(end, err)
	}
	got := append(names(first), names(second)...)
	slices.Sort(got)
	if diff := cmp.Diff(ids, got); diff != "" {
		t.Errorf("both pages (-want +got):\n%s", diff)
	}
	for _, bad := range []string{"!", "AA", "AgE", "AQ", next + "A", "AQEA", "AYCAgICAgICAgICAgICAgICA"} {
		if _, _, err := s.ListSessions(t.Context(), 2, bad); !errors.Is(err, cloudstore.ErrBadCursor) {
			t.Errorf("cursor %q: %v, want bad cursor", bad, err)
		}
	}
}

func TestSessionStatus(t *testing.T) {
	s, config := migrated(t)
	seedSessions(t, config, 2)
	register(t, s, "a")
	if _, err := s.SessionStatus(t.Context(), "nobody"); !errors.Is(err, cloudstore.ErrNotFound) {
		t.Errorf("unknown session: %v", err)
	}
	status, err := s.SessionStatus(t.Context(), "session 000")
	if err != nil || status.ConnectorID != "" || status.Epoch != 0 || status.Live || status.LastSyncedAt == nil {
		t.Errorf("unowned: %+v, %v", status, err)
	}
	mustTake(t, s, "session 000", "a")
	if err := s.SetState(t.Context(), "session 000", 1, "connected", "detail"); err != nil {
		t.Fatal(err)
	}
	status, err = s.SessionStatus(t.Context(), "session 000")
	if err != nil {
		t.Fatal(err)
	}
	status.Session = cloudstore.Session{}
	want := cloudstore.Status{State: "connected", StateDetail: "detail", ConnectorID: "a", Start: "safe", Backup: "full", Epoch: 1, Live: true}
	if diff := cmp.Diff(want, status); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	if err := s.RetireConnector(t.Context(), "a", "a/1"); err != nil {
		t.Fatal(err)
	}
	if status, err := s.SessionStatus(t.Context(), "session 000"); err != nil || status.Live {
		t.Errorf("with a dead owner: %+v, %v", status, err)
	}
}

// A selection's pages are full, in order, and hold nothing else, whatever the
// column's collation takes for the same and whatever LIKE takes for a wildcard.
func TestListSelected(t *testing.T) {
	for _, collation := range []string{"utf8mb4_0900_bin", "utf8mb4_general_ci"} {
		t.Run(collation, func(t *testing.T) {
			config := tidbtest.Start(t)
			db := rawDB(t, config)
			mustExec(t, db, nodeTable+collation)
			s := open(t, config)
			if err := s.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			all := []string{
				"acme-1", "other", "acme-2", `a_b`, "axb", "a%b", "a!b", `a\b`, "acme-3", "toko ☕ 1", "toko ☕ 2", "toko é", "acme-4", "acme", "star*", "starry",
			}
			if collation == "utf8mb4_0900_bin" {
				all = append(all, "ACME-1", "acme-1 ") // else duplicates
			} else {
				all = append(all, "ACME-5", "Acme-6")
			}
			for i, id := range all {
				mustExec(t, db, "INSERT INTO whatsapp_sessions (session_id, session_data, last_synced_at) VALUES (?, 'x', ? + INTERVAL ? MINUTE)", id, "2026-01-22 10:30:45", i)
			}
			for _, patterns := range [][]string{
				{}, {"acme-*"}, {"acme-1"}, {"ACME-1"}, {"a_*"}, {"a%*"}, {"a!*"}, {`a\*`}, {"toko ☕*"}, {"toko e"}, {"toko é", "acme"}, {"*"}, {"star*"}, {"acme-*", "acme-1", "nobody"},
			} {
				which, err := cloudstore.ParseSelection(patterns)
				if err != nil {
					t.Fatal(err)
				}
				var want []string
				for _, id := range slices.Backward(all) {
					if which.Has(id) {
						want = append(want, id)
					}
				}
				for _, limit := range []int{1, 2, 3, 100} {
					checkSelected(t, s, which, limit, want)
				}
			}
		})
	}
}

// checkSelected pages through a selection.
func checkSelected(t *testing.T, s *cloudstore.Store, which *cloudstore.Selection, limit int, want []string) {
	t.Helper()
	var got []string
	for cursor, pages := "", 0; ; pages++ {
		page, next, err := s.ListSelected(t.Context(), which, limit, cursor)
		if err != nil || pages > len(want) {
			t.Fatalf("%v: page %d: %v", which, pages, err)
		}
		if len(page) < limit && next != "" {
			t.Errorf("%v: a short page of %d before the last", which, len(page))
		}
		if pages == 0 {
			if diff := cmp.Diff(want[:min(limit, len(want))], names(page), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%v: newest first (-want +got):\n%s", which, diff)
			}
		}
		got = append(got, names(page)...)
		if cursor = next; cursor == "" {
			break
		}
	}
	slices.Sort(got)
	sorted := slices.Sorted(slices.Values(want))
	if diff := cmp.Diff(sorted, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%v, %d a page (-want +got):\n%s", which, limit, diff)
	}
}

func TestParseSelectionRefuses(t *testing.T) {
	for name, patterns := range map[string][]string{
		"empty": {""}, "control character": {"a\x00"}, "in a prefix": {"a\n*"}, "not UTF-8": {"\xff*"}, "among good ones": {"a", "", "b"},
		"too long": {strings.Repeat("x", 256)}, "too many": slices.Repeat([]string{"a"}, cloudstore.MaxPatterns+1),
	} {
		if which, err := cloudstore.ParseSelection(patterns); err == nil || which != nil {
			t.Errorf("%s: %v", name, which)
		}
	}
}

func TestSelectionHas(t *testing.T) {
	which, err := cloudstore.ParseSelection([]string{"toko", "acme-*", "a*b"})
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]bool{
		"toko": true, "toko 2": false, "Toko": false, "acme-": true, "acme-1": true, "acme": false, "a*b": true, "axb": false, "": false,
	} {
		if got := which.Has(id); got != want {
			t.Errorf("%q: %v", id, got)
		}
	}
	var everything *cloudstore.Selection
	if !everything.Has("x") || new(cloudstore.Selection).Has("x") {
		t.Error("nil is all ids, and the zero value none")
	}
}
