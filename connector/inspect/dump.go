package inspect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"cloudsession/connector/baileys"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/envelope"
	"cloudsession/shared/sessionlog"
)

// State is what a restore of a session would bring back, without its secrets.
type State struct {
	SessionID     string            `json:"session_id"`
	SchemaVersion int               `json:"schema_version"` // whatsmeow_version
	LastEpoch     uint64            `json:"last_epoch"`
	LastSeq       uint64            `json:"last_seq"`
	Credentials   string            `json:"credentials"` // CredentialsSealed, CredentialsNode or CredentialsNone
	Identity      *baileys.Identity `json:"identity,omitempty"`
	Tables        []Table           `json:"tables"` // by name; none if there is no log
}

// Table is one table's rows, sorted by key.
type Table struct {
	Name    string   `json:"name"`
	Columns []string `json:"columns"`
	Rows    [][]Cell `json:"rows"`
}

// Dump replays a session's log in memory. It returns ErrUnknownSession, the
// store's error, or the fault that keeps the log or the credentials from being
// read (package sessionlog, envelope or baileys).
func Dump(ctx context.Context, store Store, keys *envelope.Keyring, sessionID string) (State, error) {
	s, err := readSession(ctx, store, sessionID)
	if err != nil {
		return State{}, err
	}
	state := State{SessionID: sessionID, Credentials: s.credentialsKind(), Tables: []Table{}}
	if s.hasCredentials {
		identity, err := s.openCredentials(keys)
		if err != nil {
			return State{}, fmt.Errorf("dump session %q: %w", sessionID, err)
		}
		state.Identity = &identity
	}
	lineage, err := s.fetch(ctx, store, false)
	if err != nil {
		return State{}, err
	}
	r := replay{}
	res, err := sessionlog.Read(keys, sessionID, lineage, r.apply)
	if errors.Is(err, sessionlog.ErrNoBase) && s.hasCredentials && !hasDeltas(lineage) {
		return state, nil // credentials are all there is
	}
	if err != nil {
		return State{}, fmt.Errorf("dump session %q: %w", sessionID, err)
	}
	state.SchemaVersion, state.LastEpoch, state.LastSeq = r.schema, res.Last.Epoch, res.Last.Seq
	state.Tables = r.redacted()
	return state, nil
}

// hasDeltas reports whether a log once had a base: one comes before the first delta.
func hasDeltas(lineage []sessionlog.EpochRows) bool {
	return slices.ContainsFunc(lineage, func(e sessionlog.EpochRows) bool {
		return slices.ContainsFunc(e.Segments, func(row cloudstore.Segment) bool { return row.Kind == cloudstore.KindDelta })
	})
}

// replay holds the tables while pushes are applied.
type replay struct {
	schema int
	tables map[string]*replayed
}

type replayed struct {
	columns []string
	rows    map[string][]sessionlog.Value // by encoded key
}

func (r *replay) apply(p sessionlog.Push) error {
	if p.Base {
		r.tables = map[string]*replayed{}
	}
	r.schema = p.SchemaVersion
	for _, t := range p.Tables {
		have := r.tables[t.Name]
		switch {
		case have == nil:
			r.tables[t.Name] = &replayed{columns: t.Columns, rows: map[string][]sessionlog.Value{}}
		case !slices.Equal(have.columns, t.Columns):
			return fmt.Errorf("%w: table %s changed between bases", sessionlog.ErrMalformed, t.Name)
		}
	}
	for _, rec := range p.Records {
		t := r.tables[p.Tables[rec.Table].Name]
		if key := encodeKey(rec.Key); rec.Row == nil {
			delete(t.rows, key)
		} else {
			t.rows[key] = rec.Row
		}
	}
	return nil
}

// encodeKey makes a map key of a primary key that sorts numbers by value.
func encodeKey(key []sessionlog.Value) string {
	parts := make([]string, len(key))
	for i, v := range key {
		switch v := v.(type) {
		case int64:
			parts[i] = fmt.Sprintf("i%020d", uint64(v)^1<<63) //nolint:gosec // G115: the sign bit is turned over on purpose, so that texts sort as numbers do
		case []byte:
			parts[i] = fmt.Sprintf("x%x", v)
		default:
			parts[i] = fmt.Sprintf("%T%q", v, fmt.Sprint(v))
		}
	}
	return strings.Join(parts, "|")
}

func (r *replay) redacted() []Table {
	tables := make([]Table, 0, len(r.tables))
	for name, t := range r.tables {
		out := Table{Name: name, Columns: t.columns, Rows: make([][]Cell, 0, len(t.rows))}
		for _, key := range slices.Sorted(maps.Keys(t.rows)) {
			cells := make([]Cell, len(t.columns))
			for i, c := range t.columns {
				cells[i] = Cell{Value: t.rows[key][i], Redacted: !slices.Contains(shownColumns[name], c)}
			}
			out.Rows = append(out.Rows, cells)
		}
		tables = append(tables, out)
	}
	slices.SortFunc(tables, func(a, b Table) int { return cmp.Compare(a.Name, b.Name) })
	return tables
}

var _ Store = (*cloudstore.Store)(nil)
