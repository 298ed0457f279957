package capture

import (
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"cloudsession/shared/sessionlog"
)

// Both queries of a table give the same columns: the key as noted, whether the
// row exists, and the row. The unary plus makes an expression of a column and
// so hides its declared type, by which the driver would turn a TIMESTAMP's text
// into a time.

// deltaQuery reads the noted keys of t with the rows they have now.
func (t *table) deltaQuery(oldest int64) (string, []any) {
	on := make([]string, len(t.Key))
	for i, column := range t.Key {
		on[i] = fmt.Sprintf("t.%s = d.k%d COLLATE BINARY", quote(column), i)
	}
	keys := each(t.Key, func(i int, _ string) string { return fmt.Sprintf("k%d", i) })
	var args []any
	if t.rules.since != "" {
		on = append(on, "t."+quote(t.rules.since)+" >= ?")
		args = append(args, oldest)
	}
	return fmt.Sprintf("SELECT %s, t.%s IS NOT NULL, %s FROM (SELECT DISTINCT %s FROM %s) d LEFT JOIN %s t ON %s ORDER BY %s",
		each(t.Key, func(i int, _ string) string { return fmt.Sprintf("+d.k%d", i) }),
		quote(t.Key[0]), t.values(), keys, quote(dirtyTable(t.Name)), quote(t.Name), strings.Join(on, " AND "),
		each(t.Key, func(i int, _ string) string { return fmt.Sprintf("d.k%d", i) })), args
}

// baseQuery reads all rows of t.
func (t *table) baseQuery(oldest int64) (string, []any) {
	where := ""
	var args []any
	if t.rules.since != "" {
		where = " WHERE t." + quote(t.rules.since) + " >= ?"
		args = append(args, oldest)
	}
	key := each(t.Key, func(_ int, column string) string { return "t." + quote(column) + " COLLATE BINARY" })
	return fmt.Sprintf("SELECT %s, true, %s FROM %s t%s ORDER BY %s",
		each(t.Key, func(_ int, column string) string { return "+t." + quote(column) }),
		t.values(), quote(t.Name), where, key), args
}

func (t *table) values() string {
	return each(t.Columns, func(_ int, column string) string { return "+t." + quote(column) })
}

// scan makes a record of the row that rows stands at. A row's own key is taken
// where there is one: in a column without type 1 and 1.0 are the same key.
func (t *table) scan(rows *sql.Rows) (sessionlog.Record, error) {
	values := make([]sessionlog.Value, len(t.Key)+1+len(t.Columns))
	into := make([]any, len(values))
	for i := range values {
		into[i] = &values[i]
	}
	var exists bool
	into[len(t.Key)] = &exists
	if err := rows.Scan(into...); err != nil {
		return sessionlog.Record{}, err
	}
	for i, v := range values {
		// The driver reads an empty BLOB as a nil slice, a NULL as nil.
		if b, ok := v.([]byte); ok && b == nil {
			values[i] = []byte{}
		}
	}
	key, row := values[:len(t.Key)], values[len(t.Key)+1:]
	if !exists {
		return sessionlog.Record{Key: key}, nil
	}
	for i, column := range t.Key {
		key[i] = row[slices.Index(t.Columns, column)]
	}
	return sessionlog.Record{Key: key, Row: row}, nil
}

// weigh returns about how many bytes a record takes in a push.
func weigh(r sessionlog.Record) (bytes int) {
	for _, values := range [][]sessionlog.Value{r.Key, r.Row} {
		for _, v := range values {
			bytes += 8
			switch v := v.(type) {
			case string:
				bytes += len(v)
			case []byte:
				bytes += len(v)
			}
		}
	}
	return bytes
}
