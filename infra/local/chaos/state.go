package chaos

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	_ "modernc.org/sqlite" // reads the session files

	"cloudsession/connector/capture/capturetest"
	"cloudsession/connector/inspect"
	"cloudsession/connector/replicate"
	"cloudsession/shared/cloudstore"
)

// checkState is I5 and I6: every session's log verifies, and restores to exactly
// what its owner has on disk.
func (h *Harness) checkState() error {
	for _, l := range h.lines {
		if !l.isLinked() {
			continue
		}
		if err := h.compareUntilEqual(l.name()); err != nil {
			return err
		}
		for _, m := range h.machines {
			m.durable(l.name())
		}
		h.count.compared++
	}
	return nil
}

// compareUntilEqual gives the last changes time to be pushed: a receipt or a
// keepalive may still come in.
func (h *Harness) compareUntilEqual(session string) error {
	for end := time.Now().Add(limit); ; {
		diff, err := h.compare(session)
		if err != nil {
			return err
		}
		if diff == "" {
			return nil
		}
		if time.Now().After(end) {
			return h.violation("I6", session, "the cloud restores to another state than the owner's (- cloud, + owner):\n%s", diff)
		}
		if !pause(h.ctx, 300*time.Millisecond) {
			return context.Cause(h.ctx)
		}
	}
}

// compare returns how the owner's file and what the cloud restores to differ.
func (h *Harness) compare(session string) (string, error) {
	owner, err := h.store.Owner(h.ctx, session)
	if err != nil {
		return "", fmt.Errorf("read owner of %s: %w", session, err)
	}
	i := slices.IndexFunc(h.machines, func(m *machine) bool { return m.id == owner.ConnectorID })
	if i < 0 {
		return "", h.violation("I7", session, "owned by %q", owner.ConnectorID)
	}
	report, err := inspect.Verify(h.ctx, h.store, h.keys, session)
	if err != nil {
		return "", err
	}
	if !report.OK {
		return "", h.violation("I5", session, "its log does not verify: %+v", report.Faults)
	}
	before, err := h.countRows(h.ctx, session, owner.Epoch)
	if err != nil {
		return "", err
	}
	taken, err := h.asTaken(owner)
	if err != nil {
		return "", err
	}
	file := filepath.Join(h.dir, "copies", fmt.Sprintf("restored-%d.db", h.copies.Add(1)))
	defer os.Remove(file) //nolint:errcheck // the folder is the caller's to remove
	used, err := replicate.Restore(h.ctx, h.store, h.keys, taken, file)
	if err != nil {
		return "", h.violation("I6", session, "the cloud copy can't be restored: %v", err)
	}
	after, err := h.countRows(h.ctx, session, owner.Epoch)
	if err != nil {
		return "", err
	}
	if before != after {
		return "  changed meanwhile", nil // and is looked at again
	}
	if how := after.agrees(used); how != "" {
		return "  " + how, nil
	}
	cloud, err := dump(h.ctx, file)
	if err != nil {
		return "", err
	}
	own, err := h.machines[i].sessionFile(session)
	if err != nil {
		return "", err
	}
	local, err := dump(h.ctx, own)
	if err != nil {
		return "", err
	}
	if h.daysOff.Load() {
		// Its rows are in a copy for a day, by the clock of who writes the copy.
		delete(cloud, "whatsmeow_event_buffer")
		delete(local, "whatsmeow_event_buffer")
	}
	return firstDifferences(cloud, local), nil
}

// firstDifferences names the rows that only one side has, without their
// contents' tail: keys and texts stay out of reports.
func firstDifferences(cloud, local map[string][]string) string {
	var b strings.Builder
	for _, side := range []struct {
		sign        string
		have, other map[string][]string
	}{{"-", cloud, local}, {"+", local, cloud}} {
		for table, rows := range side.have {
			for _, r := range rows {
				if !slices.Contains(side.other[table], r) {
					fmt.Fprintf(&b, "  %s %s %.60s\n", side.sign, table, r)
				}
			}
		}
	}
	if b.Len() == 0 && !cmp.Equal(cloud, local) {
		return "different tables or numbers of rows"
	}
	return b.String()
}

// asTaken is what a take of this moment would restore from.
func (h *Harness) asTaken(owner cloudstore.Owner) (cloudstore.Taken, error) {
	t := cloudstore.Taken{SessionID: owner.SessionID, Epoch: owner.Epoch + 1, Start: cloudstore.StartSafe}
	t.Parent.Owner = owner
	epochs, err := h.store.Lineage(h.ctx, owner.SessionID, owner.Epoch) // newest first
	if err != nil {
		return t, fmt.Errorf("read lineage of %s: %w", owner.SessionID, err)
	}
	limit := ^uint64(0)
	for _, e := range epochs {
		heads, err := h.store.SegmentHeads(h.ctx, owner.SessionID, e.Epoch)
		if err != nil {
			return t, fmt.Errorf("read log of %s: %w", owner.SessionID, err)
		}
		for _, row := range heads {
			if row.Kind.IsData() && row.Seq <= limit && (t.ParentSeq == 0 || row.Seq == t.ParentSeq+1) {
				t.ParentEpoch, t.ParentSeq, t.ParentTag = e.Epoch, row.Seq, row.Tag
			}
		}
		if t.ParentSeq != 0 {
			return t, nil
		}
		limit = e.ParentSeq
	}
	return t, nil
}

// sessionFile finds the file that a machine's connector has adopted.
func (m *machine) sessionFile(session string) (string, error) {
	found, err := filepath.Glob(filepath.Join(m.dir, "sessions", "*", "current.json"))
	if err != nil {
		return "", fmt.Errorf("look for session files: %w", err)
	}
	for _, path := range found {
		var current struct {
			SessionID string `json:"session_id"`
			File      string `json:"file"`
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("read current session file: %w", err)
		}
		if err := json.Unmarshal(b, &current); err != nil {
			return "", fmt.Errorf("read %s: %w", path, err)
		}
		if current.SessionID == session {
			return filepath.Join(filepath.Dir(path), current.File), nil
		}
	}
	return "", fmt.Errorf("find session file of %s on machine %s: %w", session, m.id, os.ErrNotExist)
}

// dump reads a session file without changing it.
func dump(ctx context.Context, path string) (_ map[string][]string, err error) {
	db, err := sql.Open("sqlite", "file:"+path+"?mode=ro&_pragma=busy_timeout(10000)")
	if err != nil {
		return nil, fmt.Errorf("open session file: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return capturetest.Dump(ctx, db)
}
