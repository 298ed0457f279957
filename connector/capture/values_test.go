package capture

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cloudsession/shared/sessionlog"
)

// declared are column types by which SQLite or the driver might change a value.
var declared = []string{
	"", "TEXT", "INTEGER", "BIGINT", "REAL", "BLOB", "NUMERIC", "bytea", "uuid", "BOOLEAN",
	"TIMESTAMP", "DATETIME", "DATE", "TIME", "VARCHAR(3)",
}

var classes = []any{
	nil, int64(0), int64(1), int64(math.MinInt64), int64(math.MaxInt64), 0.5, -1e300, 3.0,
	"", "text", "12", "2026-01-22 10:30:45", "2026-01-22T10:30:45Z", "true", "nul\x00inside", "bad\xffutf8", "toko ☕",
	[]byte{},
	[]byte{0},
	[]byte("text"), []byte("2026-01-22"),
}

// Every storage class in every declared type comes back as it is stored.
func TestValuesRoundTrip(t *testing.T) {
	s := newSession(t, 1)
	columns := make([]string, len(declared))
	for i, kind := range declared {
		columns[i] = quote("c "+kind) + " " + kind
	}
	exec(t, s.File, "CREATE TABLE inbox_values (k1 BLOB, k2 TEXT, "+strings.Join(columns, ", ")+", PRIMARY KEY (k1, k2))")
	if !install(t, s.File) {
		t.Fatal("a new table needs no base")
	}
	s.pushBase(t)
	insert := "INSERT INTO inbox_values VALUES (?, ?" + strings.Repeat(", ?", len(declared)) + ")"
	for i, value := range classes {
		args := []any{[]byte{0xff, 0, byte(i)}, ""}
		for range declared {
			args = append(args, value)
		}
		if _, err := s.DB().ExecContext(t.Context(), insert, args...); err != nil {
			t.Fatal(err)
		}
	}
	delta, _ := s.pushDelta(t)
	s.compare(t)
	base := s.pushBase(t)
	s.compare(t)

	// What was read is what was written, where the column leaves it alone.
	for _, c := range []Changes{delta, base} {
		rows := rowsOf(c.Push, "inbox_values")
		if len(rows) != len(classes) {
			t.Fatalf("%d rows, want %d", len(rows), len(classes))
		}
		for i, row := range rows {
			if diff := cmp.Diff(classes[i], row[2]); diff != "" {
				t.Errorf("value %d in a column without type (-want +got):\n%s", i, diff)
			}
			if _, isTime := classes[i].(string); isTime {
				if diff := cmp.Diff(sessionlog.Value(classes[i]), row[2+10]); diff != "" && classes[i] != "12" {
					t.Errorf("text %d in a TIMESTAMP column (-want +got):\n%s", i, diff)
				}
			}
		}
	}
}

// rowsOf returns the rows of the named table in p.
func rowsOf(p sessionlog.Push, name string) [][]sessionlog.Value {
	var rows [][]sessionlog.Value
	for _, r := range p.Records {
		if p.Tables[r.Table].Name == name && r.Row != nil {
			rows = append(rows, r.Row)
		}
	}
	return rows
}

// Keys keep their class too: a TEXT and a BLOB of the same bytes are two keys,
// 1 and 1.0 are one.
func TestKeysKeepTheirClass(t *testing.T) {
	s := newSession(t, 1)
	exec(t, s.File, "CREATE TABLE inbox_keys (k PRIMARY KEY, v)")
	install(t, s.File)
	s.pushBase(t)
	exec(t, s.File,
		"INSERT INTO inbox_keys VALUES ('a', 1), (x'61', 2), (1, 3), (2.5, 4), (x'', 5), ('', 6)")
	s.pushDelta(t)
	s.compare(t)
	exec(t, s.File,
		"DELETE FROM inbox_keys WHERE k = x'61'",
		"DELETE FROM inbox_keys WHERE k = ''",
		"UPDATE inbox_keys SET k = 1.0 WHERE k = 1")
	s.pushDelta(t)
	s.compare(t)
	exec(t, s.File, "DELETE FROM inbox_keys WHERE k = 1", "INSERT INTO inbox_keys VALUES (1, 7)")
	s.pushDelta(t)
	s.compare(t)
}

// The same rows give the same bytes.
func TestOrderIsDeterministic(t *testing.T) {
	s := newSession(t, 1)
	for range 100 {
		if _, err := s.ops.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	read := func() (delta, base []byte) {
		d, _, err := s.Delta(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		b, err := s.Base(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if delta, err = d.Push.Marshal(); err != nil {
			t.Fatal(err)
		}
		if base, err = b.Push.Marshal(); err != nil {
			t.Fatal(err)
		}
		return delta, base
	}
	delta1, base1 := read()
	delta2, base2 := read()
	if !cmp.Equal(delta1, delta2) || !cmp.Equal(base1, base2) {
		t.Error("two reads of the same rows differ")
	}
}
