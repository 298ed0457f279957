package capture

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"

	"cloudsession/shared/sessionlog"
)

// templates are the images of session files without rows that this process has
// made. A session has a hundred tables, indexes and triggers, and to create them
// one by one takes longer than all else that a restored file of a small session
// needs; in the failover of a thousand sessions that is what the heir's
// processor does. Sessions of one schema have them in common.
var templates = templateCache{}

// maxTemplates bounds what is kept, some 300 kB each. A process sees one schema,
// or two around an upgrade of whatsmeow.
const maxTemplates = 2

type templateCache struct {
	sync.Mutex
	kept []template
}

// template is the image of a file that has the tables of a base.
type template struct {
	layout *layout // as the base says it; without tables
	bytes  []byte
}

// image returns the image of a file with the tables of base. It makes one at
// path if need be, and removes it there. Others wait meanwhile: they need the
// same one.
func (c *templateCache) image(ctx context.Context, path string, base sessionlog.Push) ([]byte, error) {
	want := &layout{version: base.SchemaVersion, compat: base.SchemaCompat, ddl: base.Schema}
	c.Lock()
	defer c.Unlock()
	for _, t := range c.kept {
		if t.layout.same(want) {
			return t.bytes, nil
		}
	}
	image, err := makeTemplate(ctx, path, base)
	if err != nil {
		return nil, err
	}
	want.ddl = slices.Clone(want.ddl)
	c.kept = append(c.kept, template{want, image})
	if len(c.kept) > maxTemplates {
		c.kept = slices.Delete(c.kept, 0, 1)
	}
	return image, nil
}

// makeTemplate makes a file at path with the tables of base, and returns what it
// consists of.
func makeTemplate(ctx context.Context, path string, base sessionlog.Push) (image []byte, err error) {
	if err := writeNew(path, nil); err != nil {
		return nil, err
	}
	f, err := Open(ctx, path, Options{})
	if err != nil {
		return nil, err
	}
	err = f.quietTx(ctx, func(tx *sql.Tx) error { return createTables(ctx, tx, base) })
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, corrupt(err)
	}
	// The last handle's Close checkpoints. Were there a -wal, the file alone
	// would not be the database.
	if _, err := os.Lstat(path + "-wal"); !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(errors.New("template was not checkpointed when it was closed"), err)
	}
	if image, err = os.ReadFile(path); err != nil {
		return nil, err
	}
	return image, os.Remove(path)
}

// createTables makes the tables of a base, and the triggers on them. They note
// nothing, since there is no generation to note it for: what is replayed is no
// change.
func createTables(ctx context.Context, tx *sql.Tx, base sessionlog.Push) error {
	for _, text := range base.Schema {
		if err := allowedDDL(text); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, text); err != nil {
			return fmt.Errorf("%w: create table or index of version %d: %w", ErrSchema, base.SchemaVersion, err)
		}
	}
	if err := writeVersion(ctx, tx, base); err != nil {
		return fmt.Errorf("write schema version: %w", err)
	}
	l, err := readLayout(ctx, tx)
	if err != nil {
		return err
	}
	if _, err := l.install(ctx, tx, false); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM "+generationTable); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "UPDATE "+stateTable+" SET schema = ?, replayed = 1", l.fingerprint)
	return err
}

// writeVersion makes the version table as whatsmeow's store does, so that its
// Upgrade goes on from there.
func writeVersion(ctx context.Context, tx *sql.Tx, p sessionlog.Push) error {
	if p.SchemaVersion == 0 {
		return nil
	}
	if _, err := tx.ExecContext(ctx, "CREATE TABLE "+versionTable+" (version INTEGER, compat INTEGER)"); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, "INSERT INTO "+versionTable+" (version, compat) VALUES (?, ?)",
		p.SchemaVersion, p.SchemaCompat)
	return err
}
