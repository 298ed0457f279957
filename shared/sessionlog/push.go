// Package sessionlog encodes what a session pushes to the cloud, seals it into
// rows, and reads a session's rows back. The formats and the rules of the
// chain are in SPEC.md beside this file.
package sessionlog

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// Value is one SQLite value in its storage class: nil, int64, float64, string
// or []byte. A string holds a TEXT's bytes, UTF-8 or not. There is no NaN:
// SQLite stores it as NULL.
type Value = any

// Table describes a captured table.
type Table struct {
	Name    string
	Columns []string
	Key     []string // the primary key's columns, in declared order; among Columns
}

// Record is one row of a table, or the news that it is gone.
type Record struct {
	Table int     // index in Push.Tables
	Key   []Value // values of the table's Key, in that order
	Row   []Value // values of the table's Columns; nil: the row is gone
}

// Push is what a session pushes at once: the records that changed, or, in a
// base, all of them.
type Push struct {
	Base          bool
	SchemaVersion int // version in whatsmeow_version
	SchemaCompat  int // compat in whatsmeow_version
	// Schema holds the CREATE TABLE and CREATE INDEX statements of the captured
	// tables, from which a reader builds the file. Only a base has it.
	Schema  []string
	Tables  []Table
	Records []Record
}

// maxColumns is SQLite's own default limit (sqlite.org/limits.html).
const maxColumns = 2000

// ErrMalformed is returned for bytes that aren't a push, for a push that can't
// be encoded, and for an authentic row whose contents break the format.
var ErrMalformed = errors.New("malformed push")

// ErrPushVersion is returned for a push of a later version of the format.
var ErrPushVersion = errors.New("unknown push version")

// check reports what of p can't be encoded, apart from values.
func (p Push) check() error {
	if min(p.SchemaVersion, p.SchemaCompat) < 0 || max(p.SchemaVersion, p.SchemaCompat) > math.MaxInt32 {
		return fmt.Errorf("%w: schema version %d, compat %d", ErrMalformed, p.SchemaVersion, p.SchemaCompat)
	}
	if !p.Base && len(p.Schema) > 0 {
		return fmt.Errorf("%w: a delta with a schema", ErrMalformed)
	}
	names := make(map[string]bool, len(p.Tables))
	for _, t := range p.Tables {
		if names[t.Name] {
			return fmt.Errorf("%w: table %q twice", ErrMalformed, t.Name)
		}
		names[t.Name] = true
		if _, err := t.keyIndexes(); err != nil {
			return err
		}
	}
	return nil
}

// keyIndexes returns the index in Columns of each column of the key.
func (t Table) keyIndexes() ([]int, error) {
	if t.Name == "" || len(t.Key) == 0 || len(t.Columns) > maxColumns {
		return nil, fmt.Errorf("%w: table %q: no name, no key or too many columns", ErrMalformed, t.Name)
	}
	for i, c := range t.Columns {
		if c == "" || slices.Contains(t.Columns[:i], c) {
			return nil, fmt.Errorf("%w: table %s: column %q twice or without name", ErrMalformed, t.Name, c)
		}
	}
	key := make([]int, len(t.Key))
	for i, c := range t.Key {
		n := slices.Index(t.Columns, c)
		if n < 0 || slices.Contains(key[:i], n) {
			return nil, fmt.Errorf("%w: table %s: key column %q", ErrMalformed, t.Name, c)
		}
		key[i] = n
	}
	return key, nil
}

// sameValue reports whether a and b are the same value of the same class.
func sameValue(a, b Value) bool {
	switch a := a.(type) {
	case nil:
		return b == nil
	case int64:
		b, ok := b.(int64)
		return ok && a == b
	case float64:
		b, ok := b.(float64)
		return ok && math.Float64bits(a) == math.Float64bits(b)
	case string:
		b, ok := b.(string)
		return ok && a == b
	case []byte:
		b, ok := b.([]byte)
		return ok && string(a) == string(b)
	}
	return false
}
