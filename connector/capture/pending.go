package capture

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"

	"cloudsession/shared/sessionlog"
)

// maxPending bounds the records that a replay keeps before it writes them.
const maxPending = 8192

// pending are records of pushes that were not written yet, of each row the
// newest: a log may hold thousands of deltas that change the same few rows. The
// state after a delta is that of the records before the first of them, changed
// by the newest record of each row since.
type pending struct {
	tables map[*table]*pendingTable
	order  []*pendingTable // as they first came
	count  int
}

type pendingTable struct {
	*table
	at      map[string]int // index in records, by key
	records []sessionlog.Record
}

func (p *pending) add(t *table, r sessionlog.Record) {
	if p.tables == nil {
		p.tables = make(map[*table]*pendingTable)
	}
	mine := p.tables[t]
	if mine == nil {
		mine = &pendingTable{table: t, at: make(map[string]int)}
		p.tables[t] = mine
		p.order = append(p.order, mine)
	}
	key := keyText(r.Key)
	if i, ok := mine.at[key]; ok {
		mine.records[i] = r
		return
	}
	mine.at[key] = len(mine.records)
	mine.records = append(mine.records, r)
	p.count++
}

// each calls do with a table's statement for each of its records.
func (p *pending) each(statement func(*table) string, do func(text string, r sessionlog.Record) error) error {
	for _, t := range p.order {
		text := statement(t.table) // the connection keeps it prepared
		for _, r := range t.records {
			if err := do(text, r); err != nil {
				return fmt.Errorf("table %s: %w", t.Name, err)
			}
		}
	}
	return nil
}

// keyText is the same for values that SQLite holds equal in a key: numbers by
// their value, text and blobs by their bytes. A database/sql value of SQLite is
// one of these, or nil.
func keyText(key []sessionlog.Value) string {
	var b []byte
	part := func(kind byte, text string) {
		b = append(b, kind)
		b = binary.BigEndian.AppendUint32(b, uint32(len(text))) //nolint:gosec // G115: SQLite's values have at most 2 GB
		b = append(b, text...)
	}
	for _, v := range key {
		switch v := v.(type) {
		case int64:
			part('n', fmt.Sprint(v))
		case float64:
			if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
				part('n', fmt.Sprint(int64(v)))
			} else {
				part('f', fmt.Sprint(v))
			}
		case string:
			part('t', v)
		case []byte:
			part('b', string(v))
		default:
			part('?', fmt.Sprintf("%T %v", v, v))
		}
	}
	return string(b)
}

func deleteStatement(t *table) string {
	where := make([]string, len(t.Key))
	for i, column := range t.Key {
		where[i] = quote(column) + " = ?"
	}
	return "DELETE FROM " + quote(t.Name) + " WHERE " + strings.Join(where, " AND ")
}

func insertStatement(t *table) string {
	return fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s)", quote(t.Name),
		each(t.Columns, func(_ int, column string) string { return quote(column) }),
		each(t.Columns, func(int, string) string { return "?" }))
}
