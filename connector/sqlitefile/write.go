package sqlitefile

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.mau.fi/whatsmeow/store/sqlstore"
	"go.mau.fi/whatsmeow/store/sqlstore/upgrades"
)

// Export writes the one device in db, a session file, as a whatsmeow SQLite file at
// path: whatsmeow's tables with all their rows, and nothing else. The device must
// not be used by anybody while and after. The file (0600) appears under its name
// only when it is complete; ErrExists if something stands there. ErrNoDevice and
// ErrManyDevices if db doesn't hold exactly one device.
func Export(ctx context.Context, db *sql.DB, path string) (Report, error) {
	r, err := export(ctx, db, path)
	if err != nil {
		return Report{}, fmt.Errorf("export whatsmeow file: %w", err)
	}
	return r, nil
}

func export(ctx context.Context, db *sql.DB, path string) (r Report, err error) {
	if err := free(path); err != nil {
		return r, err
	}
	list, err := devices(ctx, db)
	switch {
	case err != nil:
		return r, err
	case len(list) == 0:
		return r, ErrNoDevice
	case len(list) > 1:
		return r, ErrManyDevices
	}
	folder := filepath.Dir(path)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return r, err
	}
	// In a folder of its own, since SQLite puts a journal beside it.
	temp, err := os.MkdirTemp(folder, filepath.Base(path)+".partial-")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	file := filepath.Join(temp, "whatsmeow.db")
	if err := makeTables(ctx, file); err != nil {
		return r, fmt.Errorf("create tables: %w", err)
	}
	r.Device, r.SchemaVersion = list[0], len(upgrades.Table)
	r.Rows, r.Left, err = transfer(ctx, db, copying{attach: file, from: "main", to: "other", device: list[0], alone: true})
	if err != nil {
		return r, err
	}
	if err := free(path); err != nil {
		return r, err
	}
	if err := os.Rename(file, path); err != nil {
		return r, err
	}
	return r, syncDir(folder)
}

func free(path string) error {
	switch _, err := os.Lstat(path); {
	case err == nil:
		return sentence(path, ErrExists)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	default:
		return err
	}
}

// makeTables creates a file with whatsmeow's tables.
func makeTables(ctx context.Context, path string) (err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	db, err := sql.Open("sqlite", dsn(path))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return sqlstore.NewWithDB(db, "sqlite3", nil).Upgrade(ctx)
}

func syncDir(dir string) (err error) {
	file, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return file.Sync()
}
