package crashmatrix_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cloudsession/connector/capture"
	"cloudsession/shared/sessionlog"
)

// rows are a session's records: table and key, and what stands there.
type rows map[string]string

func (r rows) apply(p sessionlog.Push) {
	if p.Base {
		clear(r)
	}
	for _, record := range p.Records {
		table := p.Tables[record.Table]
		key := fmt.Sprintf("%s %v", table.Name, texts(record.Key))
		if record.Row == nil {
			delete(r, key)
			continue
		}
		row := slices.Clone(record.Row)
		// A copy may hold an older value of this one (C2).
		if i := slices.Index(table.Columns, "plaintext"); i >= 0 && table.Name == "whatsmeow_event_buffer" {
			row[i] = nil
		}
		r[key] = fmt.Sprintf("%s %s", table.Columns, texts(row))
	}
}

// texts makes values comparable, and short.
func texts(values []sessionlog.Value) []string {
	out := make([]string, len(values))
	for i, v := range values {
		if blob, ok := v.([]byte); ok {
			sum := sha256.Sum256(blob)
			v = fmt.Sprintf("%d bytes %x", len(blob), sum[:6])
		}
		out[i] = fmt.Sprintf("%T:%v", v, v)
	}
	return out
}

// adopted returns the path of a connector's session file; false if there is none.
func (s *scene) adopted(c *connector) (path string, ok bool) {
	s.t.Helper()
	found, err := filepath.Glob(filepath.Join(c.dir, "sessions", "*", "current.json"))
	if err != nil || len(found) == 0 {
		return "", false
	}
	data, err := os.ReadFile(found[0])
	s.must("read current.json", err)
	var current struct {
		File string `json:"file"`
	}
	s.must("read current.json", json.Unmarshal(data, &current))
	return filepath.Join(filepath.Dir(found[0]), current.File), true
}

// withFile opens a connector's session file beside the connector.
func (s *scene) withFile(c *connector, do func(ctx context.Context, f *capture.File) error) {
	s.t.Helper()
	path, ok := s.adopted(c)
	if !ok {
		s.t.Fatalf("connector %s has no session file", c.id)
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	f, err := capture.Open(ctx, path, capture.Options{})
	s.must("open session file", err)
	s.must("use session file", errors.Join(do(ctx, f), f.Close()))
}

// fileRows reads what a connector's session file holds.
func (s *scene) fileRows(c *connector) rows {
	s.t.Helper()
	r := rows{}
	s.withFile(c, func(ctx context.Context, f *capture.File) error {
		changes, err := f.Base(ctx)
		r.apply(changes.Push)
		return err
	})
	return r
}

// cloudRows reads what a restore would bring back.
func (s *scene) cloudRows() rows {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	keys, err := keyring()
	s.must("make keys", err)
	owner, err := s.w.store.Owner(ctx, s.id)
	s.must("read owner", err)
	epochs, err := s.w.store.Lineage(ctx, s.id, owner.Epoch)
	s.must("read lineage", err)
	var lineage []sessionlog.EpochRows
	for _, e := range slices.Backward(epochs) {
		segments, err := s.w.store.Segments(ctx, s.id, e.Epoch, 1, 1<<62)
		s.must("read log", err)
		lineage = append(lineage, sessionlog.EpochRows{
			Epoch: e.Epoch, ParentEpoch: e.ParentEpoch, ParentSeq: e.ParentSeq, Start: e.Start, Segments: segments,
		})
	}
	r := rows{}
	_, err = sessionlog.Read(keys, s.id, lineage, func(p sessionlog.Push) error {
		r.apply(p)
		return nil
	})
	s.must("replay log", err)
	return r
}

// madeSafe are the tables that a safe start takes rows from.
var madeSafe = []string{"whatsmeow_sessions ", "whatsmeow_sender_keys ", "whatsmeow_pre_keys "}

// checkKept compares the cloud with what was called durable. A row may also stand
// as the crashed connector's file has it, or in between if it changed since. Files
// are read after the cloud: one of a connector that lives may be ahead of it.
func (s *scene) checkKept(acked rows, lastRows func() []rows) {
	s.t.Helper()
	safe := s.count("SELECT COUNT(*) FROM session_epochs WHERE session_id = ? AND start = 'safe'", s.id) > 0
	cloud, files := s.cloudRows(), lastRows()
	for _, key := range slices.Sorted(maps.Keys(acked)) {
		name, _, _ := strings.Cut(key, " ")
		if safe && slices.Contains(madeSafe, name+" ") {
			continue
		}
		was, now := acked[key], cloud[key]
		if now == was {
			continue
		}
		if slices.ContainsFunc(files, func(last rows) bool { return last[key] != was }) {
			continue // it changed since, or went
		}
		s.t.Errorf("a row that was durable is not in the cloud as it was: %s: %d bytes, now %d", key, len(was), len(now))
	}
}

// checkSame compares the cloud with an owner's file at a quiet moment.
func (s *scene) checkSame(c *connector) {
	s.t.Helper()
	var differ []string
	for range 50 { // the service may still have something to say
		s.until("sync", c.sync)
		before, cloud, after := s.fileRows(c), s.cloudRows(), s.fileRows(c)
		if !maps.Equal(before, after) {
			continue
		}
		if maps.Equal(before, cloud) {
			return
		}
		differ = differ[:0]
		for key := range before {
			if before[key] != cloud[key] {
				differ = append(differ, fmt.Sprintf("%s: file has %s, cloud has %s", key, before[key], cloud[key]))
			}
		}
		for key := range cloud {
			if _, ok := before[key]; !ok {
				differ = append(differ, "only in the cloud: "+key)
			}
		}
	}
	s.t.Errorf("the cloud is not what its owner has: %q", differ)
}
