package cloudstore_test

import (
	"errors"
	"strings"
	"testing"

	"cloudsession/shared/cloudstore"
)

func TestValidateSessionID(t *testing.T) {
	good := []string{
		"personal", "a", "toko ☕", "..", "/", "a/b", "%2e", "'; DROP TABLE x --", `\`, " ", "a ", "日本語", "👩‍👩‍👧", "é",
		strings.Repeat("x", 255), strings.Repeat("☕", 255), strings.Repeat("😀", 255),
	}
	for _, id := range good {
		if err := cloudstore.ValidateSessionID(id); err != nil {
			t.Errorf("%q: %v", id, err)
		}
	}
	bad := map[string]string{
		"empty": "", "256": strings.Repeat("☕", 256), "newline": "a\nb", "NUL": "a\x00", "DEL": "a\x7f", "C1": "a\u0085",
		"not UTF-8": "a\xff", "surrogate": "\xed\xa0\x80", "bidi override": "a\u202eb", "line separator": "a\u2028b",
		"byte order mark": "\ufeffa", "private use": "\ue000", "noncharacter": "\uffff", "soft hyphen": "a\u00adb",
	}
	for name, id := range bad {
		err := cloudstore.ValidateSessionID(id)
		if !errors.Is(err, cloudstore.ErrBadSessionID) {
			t.Errorf("%s: %v, want bad session id", name, err)
		} else if len(id) > 2 && strings.Contains(err.Error(), id) {
			t.Errorf("%s: the error quotes the id: %v", name, err)
		}
	}
}

// Ids that look alike, or that a file system or a collation would take for the
// same, are different sessions in every table.
func TestSessionIDsAreBytes(t *testing.T) {
	s, _ := migrated(t)
	register(t, s, "a")
	ids := []string{
		"a", "a ", " a", "A", "á", "a\u0301", "..", ".", "../a", "ß", "ss", "toko ☕", "%", "_", `\`, `\'`, "'", `"`,
		strings.Repeat("😀", 255), strings.Repeat("x", 254), strings.Repeat("x", 255),
	}
	for i, id := range ids {
		taken := mustTake(t, s, id, "a")
		if taken.Epoch != 1 {
			t.Fatalf("%q is taken for another: epoch %d", id, taken.Epoch)
		}
		base := segment(id, 1, 1, cloudstore.KindBase, "")
		if o, err := s.AppendFirstBase(t.Context(), base, creds(id, 1, id)); err != nil || o != cloudstore.Durable {
			t.Fatalf("%q: %v, %v", id, o, err)
		}
		for _, other := range ids[i+1:] {
			if _, err := s.Owner(t.Context(), other); !errors.Is(err, cloudstore.ErrNotFound) {
				t.Errorf("%q is taken for %q: %v", other, id, err)
			}
		}
	}
	for _, id := range ids {
		wantCredentials(t, s, id, id, 1)
		if rows := allSegments(t, s, id, 1); len(rows) != 1 || rows[0].SessionID != id {
			t.Errorf("%q: %d rows", id, len(rows))
		}
		status, err := s.SessionStatus(t.Context(), id)
		if err != nil || status.SessionID != id || status.Epoch != 1 {
			t.Errorf("%q: %+v, %v", id, status, err)
		}
	}
	sessions, _, err := s.ListSessions(t.Context(), 0, "")
	if err != nil || len(sessions) != len(ids) {
		t.Errorf("%d sessions listed, %v; want %d", len(sessions), err, len(ids))
	}
}

// Every call that takes an id refuses a bad one before it asks the database.
func TestBadSessionIDEverywhere(t *testing.T) {
	s := open(t, cloudstore.Config{Host: "127.0.0.1", Port: 1, User: "u", Database: "d"})
	ctx, bad := t.Context(), "a\nb"
	calls := map[string]func() error{
		"Take":           func() error { _, err := s.Take(ctx, request(bad, "a")); return err },
		"Release":        func() error { return s.Release(ctx, bad, 1, "", 0, "") },
		"Owner":          func() error { _, err := s.Owner(ctx, bad); return err },
		"SetWanted":      func() error { return s.SetWanted(ctx, bad, cloudstore.WantedOpen) },
		"Credentials":    func() error { _, err := s.Credentials(ctx, bad); return err },
		"PutCredentials": func() error { return s.PutCredentials(ctx, creds(bad, 1, "c")) },
		"Segments":       func() error { _, err := s.Segments(ctx, bad, 1, 1, 1); return err },
		"SegmentHeads":   func() error { _, err := s.SegmentHeads(ctx, bad, 1); return err },
		"Lineage":        func() error { _, err := s.Lineage(ctx, bad, 1); return err },
		"Epochs":         func() error { _, err := s.Epochs(ctx, bad); return err },
		"Prune":          func() error { _, err := s.Prune(ctx, bad, 1, 1, 1); return err },
		"DeleteSession":  func() error { return s.DeleteSession(ctx, bad) },
		"SessionStatus":  func() error { _, err := s.SessionStatus(ctx, bad); return err },
		"CreateCommand": func() error {
			_, _, err := s.CreateCommand(ctx, command(bad, cloudstore.CommandSync, "", ""))
			return err
		},
		"AppendSegments": func() error {
			_, err := s.AppendSegments(ctx, []cloudstore.Segment{segment(bad, 1, 1, cloudstore.KindBase, "")})
			return err
		},
		"AppendFirstBase": func() error {
			_, err := s.AppendFirstBase(ctx, segment(bad, 1, 1, cloudstore.KindBase, ""), creds(bad, 1, "c"))
			return err
		},
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, cloudstore.ErrBadSessionID) {
			t.Errorf("%s: %v, want bad session id", name, err)
		}
	}
}
