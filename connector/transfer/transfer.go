// Package transfer turns what other programs keep of a session into the one form
// in which sessions go in and out of a connector, and back: a whatsmeow SQLite
// file with one device.
package transfer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.mau.fi/whatsmeow/store/sqlstore"
	"go.mau.fi/whatsmeow/types"

	"cloudsession/connector/baileys"
	"cloudsession/connector/capture"
	"cloudsession/connector/sqlitefile"
)

// ErrOccupied means that something stands where an export is to be written.
var ErrOccupied = errors.New("there is something already")

// FromBaileys reads a Baileys auth folder. exact carries its Signal state over.
// The errors are those of baileys.ReadFolder and baileys.Import.
func FromBaileys(ctx context.Context, folder string, exact bool) (file []byte, r baileys.Report, err error) {
	f, err := baileys.ReadFolder(os.DirFS(folder))
	if err != nil {
		return nil, r, err
	}
	err = withSession(ctx, func(db *capture.File, dir string) error {
		if r, err = baileys.Import(ctx, db.DB(), f, baileys.Options{Exact: exact}); err != nil {
			return err
		}
		file, err = plain(ctx, db, dir)
		return err
	})
	return file, r, err
}

// FromWhatsmeow reads one device of a whatsmeow SQLite file; the only one if jid
// is empty.
func FromWhatsmeow(ctx context.Context, path string, jid types.JID) (file []byte, r sqlitefile.Report, err error) {
	if jid.IsEmpty() {
		if jid, err = onlyDevice(ctx, path); err != nil {
			return nil, r, err
		}
	}
	err = withSession(ctx, func(db *capture.File, dir string) error {
		if r, err = sqlitefile.Import(ctx, path, jid, db.DB()); err != nil {
			return err
		}
		file, err = plain(ctx, db, dir)
		return err
	})
	return file, r, err
}

func onlyDevice(ctx context.Context, path string) (types.JID, error) {
	list, err := sqlitefile.Devices(ctx, path)
	if err != nil {
		return types.JID{}, err
	}
	switch len(list) {
	case 0:
		return types.JID{}, fmt.Errorf("%s: no device in it was ever linked", path)
	case 1:
		return list[0].JID, nil
	}
	names := make([]string, len(list))
	for i, d := range list {
		names[i] = d.JID.String()
	}
	return types.JID{}, fmt.Errorf("%s holds %d devices; name one with --device: %s", path, len(list), strings.Join(names, ", "))
}

// ToBaileys writes a whatsmeow file with one device as a Baileys auth folder.
func ToBaileys(ctx context.Context, file []byte, folder string) (r baileys.Report, err error) {
	err = withSession(ctx, func(db *capture.File, dir string) error {
		path := filepath.Join(dir, "in.db")
		if err := os.WriteFile(path, file, 0o600); err != nil {
			return err
		}
		jid, err := onlyDevice(ctx, path)
		if err != nil {
			return err
		}
		if _, err := sqlitefile.Import(ctx, path, jid, db.DB()); err != nil {
			return err
		}
		r, err = baileys.Export(ctx, db.DB(), folder)
		return err
	})
	return r, err
}

// ToWhatsmeow writes a whatsmeow file under its name, 0600.
func ToWhatsmeow(file []byte, path string) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write whatsmeow file: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("write whatsmeow file: %w", err)
	}
	_, err = f.Write(file)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write whatsmeow file: %w", errors.Join(err, os.Remove(path)))
	}
	return nil
}

// Free returns ErrOccupied if something stands at path, unless it is an empty
// folder: whoever is about to close a session for an export asks first.
func Free(path string) error {
	entries, err := os.ReadDir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && len(entries) == 0:
		return nil
	case err == nil:
		return fmt.Errorf("%s: %w", path, ErrOccupied)
	}
	if _, statErr := os.Lstat(path); statErr == nil {
		return fmt.Errorf("%s: %w", path, ErrOccupied)
	}
	return err
}

// withSession calls f with an empty session file, in a private folder that is
// removed afterwards.
func withSession(ctx context.Context, f func(db *capture.File, dir string) error) (err error) {
	dir, err := os.MkdirTemp("", "cloudsession-transfer-*") // 0700
	if err != nil {
		return fmt.Errorf("make a folder to work in: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	db, err := capture.Open(ctx, filepath.Join(dir, "session.db"), capture.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := sqlstore.NewWithDB(db.DB(), "sqlite3", nil).Upgrade(ctx); err != nil {
		return fmt.Errorf("create session tables: %w", err)
	}
	return f(db, dir)
}

func plain(ctx context.Context, db *capture.File, dir string) ([]byte, error) {
	path := filepath.Join(dir, "out.db")
	if _, err := sqlitefile.Export(ctx, db.DB(), path); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}
