package capture

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ownPrefix begins the names of everything this package puts into a file.
const ownPrefix = "cloudsession_"

// dirtyTable is where changed keys of the named table are noted. Its key
// columns have no type, so that a value keeps its storage class.
func dirtyTable(name string) string { return ownPrefix + "dirty_" + name }

// Install puts triggers on every captured table, so that each change notes the
// row's primary key. Call it after every Upgrade of whatsmeow's store and of
// the inbox: an upgrade that rebuilds a table drops its triggers.
//
// It returns true when only a base can be pushed next, because changes may have
// gone unseen, or because the tables are no longer those of the last push. A
// new file needs a base, a file made by Create doesn't as long as it still has
// the schema it was made with.
//
// ErrSchema tells that a table can't be captured: it has no primary key, or
// rows whose key is NULL.
func (f *File) Install(ctx context.Context) (schemaChanged bool, err error) {
	var l *layout
	err = f.quietTx(ctx, func(tx *sql.Tx) error {
		if l, err = readLayout(ctx, tx); err != nil {
			return err
		}
		replayed, err := isReplayed(ctx, tx)
		if err != nil {
			return err
		}
		renewed, err := l.install(ctx, tx, replayed)
		if err != nil {
			return err
		}
		schemaChanged, err = noteSchema(ctx, tx, l.fingerprint, renewed, replayed)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("install capture: %w", corrupt(err))
	}
	f.setLayout(l)
	return schemaChanged, nil
}

// install makes the file's triggers and dirty tables those of l. It reports
// whether any had to be made. unseen tells that the triggers that are there let
// rows pass.
func (l *layout) install(ctx context.Context, tx *sql.Tx, unseen bool) (renewed bool, err error) {
	have, err := ownObjects(ctx, tx)
	if err != nil {
		return false, err
	}
	for i := range l.tables {
		t := &l.tables[i]
		want := t.objects()
		there := matches(have, want)
		if !there || unseen {
			if err := t.refuseNullKeys(ctx, tx); err != nil {
				return false, err
			}
		}
		if there {
			continue
		}
		renewed = true
		for _, o := range want {
			if have[o.name] == o {
				continue // what a dirty table notes is lost with it
			}
			if err := replaceObject(ctx, tx, have, o); err != nil {
				return false, fmt.Errorf("capture %s: %w", t.Name, err)
			}
		}
	}
	return renewed, l.dropStale(ctx, tx, have)
}

// object is a table or trigger of ours, as sqlite_master has it.
type object struct{ kind, name, sql string }

// ownObjects reads the triggers and dirty tables that are in the file.
func ownObjects(ctx context.Context, tx *sql.Tx) (map[string]object, error) {
	have := make(map[string]object)
	const query = "SELECT type, name, sql FROM sqlite_master WHERE type IN ('table', 'trigger') AND sql IS NOT NULL"
	err := scanAll(ctx, tx, query, nil, func(rows *sql.Rows) error {
		var o object
		if err := rows.Scan(&o.kind, &o.name, &o.sql); err != nil {
			return err
		}
		if o.kind == "trigger" && strings.HasPrefix(o.name, ownPrefix) || strings.HasPrefix(o.name, dirtyTable("")) {
			have[o.name] = o
		}
		return nil
	})
	return have, err
}

func matches(have map[string]object, want []object) bool {
	return !slices.ContainsFunc(want, func(o object) bool { return have[o.name] != o })
}

func replaceObject(ctx context.Context, tx *sql.Tx, have map[string]object, o object) error {
	if _, there := have[o.name]; there {
		if err := dropObject(ctx, tx, o); err != nil {
			return err
		}
	}
	_, err := tx.ExecContext(ctx, o.sql)
	return err
}

func dropObject(ctx context.Context, tx *sql.Tx, o object) error {
	_, err := tx.ExecContext(ctx, fmt.Sprintf("DROP %s IF EXISTS %s", o.kind, quote(o.name)))
	return err
}

// dropStale removes what belongs to tables that are captured no longer.
func (l *layout) dropStale(ctx context.Context, tx *sql.Tx, have map[string]object) error {
	stale := maps.Clone(have)
	for i := range l.tables {
		for _, o := range l.tables[i].objects() {
			delete(stale, o.name)
		}
	}
	for _, o := range stale {
		if err := dropObject(ctx, tx, o); err != nil {
			return fmt.Errorf("drop %s: %w", o.name, err)
		}
	}
	return nil
}

// refuseNullKeys returns ErrSchema if a row can't be named by its key. SQLite
// allows NULL in a primary key unless the column says otherwise.
func (t *table) refuseNullKeys(ctx context.Context, tx *sql.Tx) error {
	var null []string
	for i, column := range t.Key {
		if t.nullable[i] {
			null = append(null, quote(column)+" IS NULL")
		}
	}
	if len(null) == 0 {
		return nil
	}
	var found bool
	//nolint:gosec // the names come from the file's own schema, quoted
	query := fmt.Sprintf("SELECT EXISTS (SELECT 1 FROM %s WHERE %s)", quote(t.Name), strings.Join(null, " OR "))
	if err := tx.QueryRowContext(ctx, query).Scan(&found); err != nil {
		return err
	}
	if found {
		return fmt.Errorf("%w: table %s has a row whose primary key is NULL", ErrSchema, t.Name)
	}
	return nil
}
