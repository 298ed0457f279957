package sqlitefile

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"go.mau.fi/whatsmeow/types"
)

const selectDevices = `
	SELECT jid, lid, push_name, business_name, platform,
		(SELECT COALESCE(MAX(key_id), 0) FROM whatsmeow_pre_keys p WHERE p.jid = d.jid),
		(SELECT COUNT(*) FROM whatsmeow_sessions s WHERE s.our_jid = d.jid)
	FROM whatsmeow_device d ORDER BY jid`

// Devices lists the devices of the whatsmeow file at path. The file must not be
// in use. Its errors are one sentence about the file: ErrNotSQLite,
// ErrNotWhatsmeow, ErrNewer, ErrInUse, or why it can't be read.
func Devices(ctx context.Context, path string) (list []Device, err error) {
	s, err := take(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("read whatsmeow file: %w", err)
	}
	defer func() { err = errors.Join(err, s.close()) }()
	list, err = devices(ctx, s.db)
	if err != nil {
		return nil, fmt.Errorf("read whatsmeow file: %w", sentence(path, err))
	}
	return list, nil
}

// querier is a database or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func devices(ctx context.Context, db querier) (list []Device, err error) {
	rows, err := db.QueryContext(ctx, selectDevices)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var d Device
		if err := rows.Scan(&d.JID, &d.LID, &d.PushName, &d.BusinessName, &d.Platform, &d.MaxPreKeyID, &d.Sessions); err != nil {
			return nil, err
		}
		list = append(list, d)
	}
	return list, rows.Err()
}

// Import copies one device of the whatsmeow file at path into db, an empty session
// file whose tables exist (whatsmeow's Container.Upgrade), in one transaction. Of
// the LID map, which the devices of a file share, it takes what the device's own
// rows name; all of it if there is no other device. Whether the Signal state may be
// used as it is depends on whether the file's program was stopped cleanly and is
// gone: otherwise start safely. Errors as in Devices, and ErrUnknownDevice and
// ErrDeviceExists.
func Import(ctx context.Context, path string, jid types.JID, db *sql.DB) (r Report, err error) {
	s, err := take(ctx, path)
	if err != nil {
		return r, fmt.Errorf("import whatsmeow file: %w", err)
	}
	defer func() { err = errors.Join(err, s.close()) }()
	list, err := devices(ctx, s.db)
	if err != nil {
		return r, fmt.Errorf("import whatsmeow file: %w", sentence(path, err))
	}
	for _, d := range list {
		if d.JID == jid {
			r.Device = d
		}
	}
	if r.Device.JID.IsEmpty() {
		return Report{}, fmt.Errorf("import whatsmeow file: %w", sentence(path, ErrUnknownDevice))
	}
	// The copy is complete before another connection reads it.
	if err := s.db.Close(); err != nil {
		return Report{}, fmt.Errorf("import whatsmeow file: %w", err)
	}
	s.db = nil
	r.SchemaVersion = s.version
	r.Rows, r.Left, err = transfer(ctx, db, copying{
		attach: s.path, from: "other", to: "main", device: r.Device, alone: len(list) == 1,
	})
	if err != nil {
		return Report{}, fmt.Errorf("import whatsmeow file: %w", err)
	}
	return r, nil
}
