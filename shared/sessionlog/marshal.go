package sessionlog

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

const (
	pushVersion = 1
	pushBase    = 1 // flag

	typeNull = 0
	typeInt  = 1
	typeReal = 2
	typeText = 3
	typeBlob = 4
)

// Marshal encodes p as SPEC.md says. It returns ErrMalformed for a push that
// breaks the rules there: a key that differs from its row's, a NULL in a key,
// a value of another type, a row of another length.
func (p Push) Marshal() ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	b := []byte{pushVersion, 0}
	if p.Base {
		b[1] = pushBase
	}
	b = binary.AppendUvarint(b, uint64(p.SchemaVersion)) //nolint:gosec // G115: versions count upwards from 0
	b = binary.AppendUvarint(b, uint64(p.SchemaCompat))  //nolint:gosec // G115: as above
	b = binary.AppendUvarint(b, uint64(len(p.Schema)))
	for _, statement := range p.Schema {
		b = appendString(b, statement)
	}
	b = binary.AppendUvarint(b, uint64(len(p.Tables)))
	keys := make([][]int, len(p.Tables))
	for i, t := range p.Tables {
		keys[i], _ = t.keyIndexes() // checked above
		b = appendTable(b, t, keys[i])
	}
	b = binary.AppendUvarint(b, uint64(len(p.Records)))
	for i, r := range p.Records {
		if r.Table < 0 || r.Table >= len(p.Tables) {
			return nil, fmt.Errorf("%w: record %d: table %d", ErrMalformed, i, r.Table)
		}
		var err error
		if b, err = appendRecord(b, p.Tables[r.Table], keys[r.Table], r); err != nil {
			return nil, fmt.Errorf("record %d of %s: %w", i, p.Tables[r.Table].Name, err)
		}
	}
	return b, nil
}

func appendTable(b []byte, t Table, key []int) []byte {
	b = appendString(b, t.Name)
	b = binary.AppendUvarint(b, uint64(len(t.Columns)))
	for _, c := range t.Columns {
		b = appendString(b, c)
	}
	b = binary.AppendUvarint(b, uint64(len(key)))
	for _, n := range key {
		b = binary.AppendUvarint(b, uint64(n)) //nolint:gosec // G115: the number of a column or table, which is small and not negative
	}
	return b
}

func appendRecord(b []byte, t Table, key []int, r Record) ([]byte, error) {
	if len(r.Key) != len(key) {
		return nil, fmt.Errorf("%w: key of %d values, not %d", ErrMalformed, len(r.Key), len(key))
	}
	if slices.Contains(r.Key, nil) {
		return nil, fmt.Errorf("%w: NULL in a key", ErrMalformed)
	}
	if r.Row == nil {
		return appendValues(binary.AppendUvarint(b, uint64(r.Table)<<1|1), r.Key) //nolint:gosec // G115: the number of a column or table, which is small and not negative
	}
	if len(r.Row) != len(t.Columns) {
		return nil, fmt.Errorf("%w: row of %d values, not %d", ErrMalformed, len(r.Row), len(t.Columns))
	}
	for i, n := range key {
		if !sameValue(r.Key[i], r.Row[n]) {
			return nil, fmt.Errorf("%w: %s differs between key and row", ErrMalformed, t.Columns[n])
		}
	}
	return appendValues(binary.AppendUvarint(b, uint64(r.Table)<<1), r.Row) //nolint:gosec // G115: the number of a column or table, which is small and not negative
}

func appendValues(b []byte, values []Value) ([]byte, error) {
	for _, v := range values {
		switch v := v.(type) {
		case nil:
			b = append(b, typeNull)
		case int64:
			b = binary.AppendVarint(append(b, typeInt), v)
		case float64:
			if math.IsNaN(v) {
				return nil, fmt.Errorf("%w: NaN", ErrMalformed)
			}
			b = binary.BigEndian.AppendUint64(append(b, typeReal), math.Float64bits(v))
		case string:
			b = appendString(append(b, typeText), v)
		case []byte:
			b = binary.AppendUvarint(append(b, typeBlob), uint64(len(v)))
			b = append(b, v...)
		default:
			return nil, fmt.Errorf("%w: a %T is no SQLite value", ErrMalformed, v)
		}
	}
	return b, nil
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}
