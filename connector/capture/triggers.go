package capture

import (
	"fmt"
	"strings"
)

// objects returns the dirty table and the triggers of t.
//
// A dirty table has one row for each key and generation in which it changed.
// The generation is a number that grows whenever the changes are read (see
// Mark), so a change costs one row the first time, and afterwards only a look
// at the table. Clearing up to a generation clears exactly what was read (C3).
//
// Inside a trigger the outer statement's conflict clause wins over an INSERT's
// own OR clause, and OR IGNORE would even drop a change in silence. ON CONFLICT
// DO NOTHING isn't overridden, and RAISE(ABORT) stays an abort.
func (t *table) objects() []object {
	dirty := quote(dirtyTable(t.Name))
	keys := each(t.Key, func(i int, _ string) string { return fmt.Sprintf("k%d", i) })
	trigger := func(name, event, row string) object {
		name = ownPrefix + t.Name + "_" + name
		return object{"trigger", name, fmt.Sprintf(
			"CREATE TRIGGER %s AFTER %s BEGIN INSERT INTO %s SELECT %s, n FROM %s WHERE true ON CONFLICT DO NOTHING; END",
			quote(name), event, dirty, t.keyOf(row), generationTable)}
	}
	on := " ON " + quote(t.Name)
	return []object{
		{"table", dirtyTable(t.Name), fmt.Sprintf("CREATE TABLE %s (%s, n, PRIMARY KEY (%s, n)) WITHOUT ROWID", dirty, keys, keys)},
		trigger("insert", "INSERT"+on, "NEW"),
		trigger("update", "UPDATE"+t.watched()+on+t.whenChanged(), "NEW"),
		trigger("rekey", "UPDATE"+t.ofKey()+on+" WHEN "+t.differs(t.Key), "OLD"),
		trigger("delete", "DELETE"+on, "OLD"),
	}
}

// keyOf lists the key of row, NEW or OLD, and refuses a NULL in it.
func (t *table) keyOf(row string) string {
	return each(t.Key, func(i int, column string) string {
		value := row + "." + quote(column)
		if !t.nullable[i] {
			return value
		}
		message := "table " + t.Name + ": NULL in primary key column " + column
		return fmt.Sprintf("coalesce(%s, RAISE(ABORT, '%s'))", value, strings.ReplaceAll(message, "'", "''"))
	})
}

// watched is the OF clause that leaves out a quiet column.
func (t *table) watched() string {
	if t.rules.quiet == "" {
		return ""
	}
	var names []string
	for _, column := range t.Columns {
		if column != t.rules.quiet {
			names = append(names, quote(column))
		}
	}
	return " OF " + strings.Join(names, ", ")
}

// ofKey is the OF clause for updates of the key. An alias of the rowid goes by
// several names, so there the WHEN clause alone decides.
func (t *table) ofKey() string {
	if t.rowid {
		return ""
	}
	return " OF " + each(t.Key, func(_ int, column string) string { return quote(column) })
}

func (t *table) whenChanged() string {
	if !t.rules.changesOnly {
		return ""
	}
	return " WHEN " + t.differs(t.Columns)
}

// differs compares the old and new values of columns.
func (t *table) differs(columns []string) string {
	parts := make([]string, len(columns))
	for i, column := range columns {
		parts[i] = fmt.Sprintf("OLD.%[1]s IS NOT NEW.%[1]s COLLATE BINARY", quote(column))
	}
	return strings.Join(parts, " OR ")
}
