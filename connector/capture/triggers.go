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
//
// Every connection parses all of it anew, which is most of what a connection
// costs: so a NULL in a key is refused where it would come in, and nowhere else.
func (t *table) objects() []object {
	dirty := quote(dirtyTable(t.Name))
	keys := each(t.Key, func(i int, _ string) string { return fmt.Sprintf("k%d", i) })
	trigger := func(name, event, row, generation string) object {
		name = ownPrefix + t.Name + "_" + name
		key := each(t.Key, func(_ int, column string) string { return row + "." + quote(column) })
		return object{"trigger", name, fmt.Sprintf(
			"CREATE TRIGGER %s AFTER %s BEGIN INSERT INTO %s SELECT %s, %s FROM %s WHERE true ON CONFLICT DO NOTHING; END",
			quote(name), event, dirty, key, generation, generationTable)}
	}
	on := " ON " + quote(t.Name)
	return []object{
		{"table", dirtyTable(t.Name), fmt.Sprintf("CREATE TABLE %s (%s, n, PRIMARY KEY (%s, n)) WITHOUT ROWID", dirty, keys, keys)},
		trigger("insert", "INSERT"+on, "NEW", t.generationOfWholeKey()),
		trigger("update", "UPDATE"+t.watched()+on+t.whenChanged(), "NEW", "n"),
		trigger("rekey", "UPDATE"+t.ofKey(on), "OLD", t.generationOfWholeKey()),
		trigger("delete", "DELETE"+on, "OLD", "n"),
	}
}

// generationOfWholeKey is the generation, and refuses a new key with a NULL in it.
func (t *table) generationOfWholeKey() string {
	var parts []string
	for i, column := range t.Key {
		if t.nullable[i] {
			parts = append(parts, "NEW."+quote(column)+" NOTNULL")
		}
	}
	if len(parts) == 0 {
		return "n"
	}
	message := strings.ReplaceAll("NULL in primary key of "+t.Name, "'", "''")
	return fmt.Sprintf("iif(%s, n, RAISE(ABORT, '%s'))", strings.Join(parts, " AND "), message)
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

// ofKey picks updates of the key, on names the table: those that set a column of
// it, also to what it was, which notes nothing new. An alias of the rowid goes by
// several names, so there the values decide.
func (t *table) ofKey(on string) string {
	if t.rowid {
		return on + " WHEN " + t.differs(t.Key)
	}
	return " OF " + each(t.Key, func(_ int, column string) string { return quote(column) }) + on
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
