package manager

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"go.mau.fi/whatsmeow/store/sqlstore"
	"go.mau.fi/whatsmeow/util/keys"

	"cloudsession/connector/capture"
	"cloudsession/connector/control"
	"cloudsession/connector/replicate"
	"cloudsession/connector/sqlitefile"
	"cloudsession/connector/whatsapp"
	"cloudsession/shared/cloudstore"
)

// staged is a session file that was made of something from elsewhere, complete
// and checked before the session is taken: what is wrong with it changes nothing.
type staged struct {
	path      string
	exact     bool // its Signal state is the newest there is
	replace   bool // an existing session's state may be replaced
	maxPreKey uint32
}

// replaces and safe are false for no file at all.
func (f *staged) replaces() bool { return f != nil && f.replace }
func (f *staged) safe() bool     { return f != nil && !f.exact }

// adopt makes the file the one of a term.
func (f *staged) adopt(path string) (replicate.Restored, error) {
	if err := os.Rename(f.path, path); err != nil {
		return replicate.Restored{}, fmt.Errorf("adopt the imported file: %w", err)
	}
	return replicate.Restored{MaxPreKeyID: f.maxPreKey, CredentialsOnly: f.maxPreKey == 0}, nil
}

// Import makes a session of a whatsmeow SQLite file that holds one device, and
// opens it. An existing session is refused with ErrPaired unless it may be
// replaced; its state then stays as a restore point. A session that is open here
// is closed first, and its place kept.
func (l Local) Import(ctx context.Context, id string, r control.ImportRequest, file io.Reader) (_ control.Session, err error) {
	m := l.m
	s, err := m.entry(id)
	if err != nil {
		return control.Session{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.current(); o != nil && !o.rest && !r.Replace {
		return control.Session{}, ErrPaired
	}
	leave, err := m.placeOf(s)
	if err != nil {
		return control.Session{}, err
	}
	defer leave()
	if err := s.files.create(); err != nil {
		return control.Session{}, err
	}
	f := &staged{path: filepath.Join(s.files.dir, "import.db"), exact: r.Exact, replace: r.Replace, maxPreKey: r.MaxPreKeyID}
	defer func() { err = errors.Join(err, discard(f.path)) }() // unless it was adopted
	if err := f.fill(ctx, file); err != nil {
		return control.Session{}, err
	}
	if err := m.pushFirst(ctx, s); err != nil {
		return control.Session{}, err
	}
	if err := m.restAside(ctx, s, r.Replace); err != nil {
		return control.Session{}, err
	}
	// For good: the log of what is replaced is not read any more, nor what it holds for the application.
	replaced := release{reserveFor: m.opt.Lease.ConnectorID(), wanted: cloudstore.WantedOpen, forGood: true}
	if err := m.closeInTime(ctx, s, replaced); err != nil {
		return control.Session{}, fmt.Errorf("close the session that is to be replaced: %w", err)
	}
	if err := m.openLocked(ctx, s, openRequest{reason: "import", create: true, staged: f}); err != nil {
		return control.Session{}, err
	}
	leave() // it counts by itself now
	s.succeeded()
	s.log.Info("session imported", "epoch", s.epochNow(), "exact", r.Exact)
	if err := m.waitConnected(ctx, s); err != nil {
		return control.Session{}, err
	}
	return describe(s), nil
}

// fill makes the session file of what came in.
func (f *staged) fill(ctx context.Context, in io.Reader) (err error) {
	raw := f.path + ".in"
	defer func() { err = errors.Join(err, discard(raw)) }()
	if err := errors.Join(discard(raw), discard(f.path)); err != nil {
		return fmt.Errorf("remove an unfinished file: %w", err)
	}
	if err := writeAll(raw, in); err != nil {
		return fmt.Errorf("receive session file: %w", err)
	}
	devices, err := sqlitefile.Devices(ctx, raw)
	if err != nil {
		return err
	}
	if len(devices) != 1 {
		return fmt.Errorf("import session: the file holds %d devices instead of one", len(devices))
	}
	f.maxPreKey = max(f.maxPreKey, devices[0].MaxPreKeyID)
	out, err := capture.Open(ctx, f.path, capture.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if err := sqlstore.NewWithDB(out.DB(), "sqlite3", nil).Upgrade(ctx); err != nil {
		return fmt.Errorf("create session tables: %w", err)
	}
	if _, err := sqlitefile.Import(ctx, raw, devices[0].JID, out.DB()); err != nil {
		return err
	}
	return f.keepNumbering(ctx, out, devices[0])
}

// keepNumbering keeps prekey ids from being given out again: whatsmeow numbers on
// from the highest in the file, which may have been used up elsewhere. A key that
// nobody has been told of takes the place of the one that is gone.
func (f *staged) keepNumbering(ctx context.Context, out *capture.File, d sqlitefile.Device) error {
	if f.maxPreKey <= d.MaxPreKeyID {
		return nil
	}
	const insert = `INSERT INTO whatsmeow_pre_keys (jid, key_id, key, uploaded) VALUES (?, ?, ?, 1)`
	key := keys.NewKeyPair()
	if _, err := out.DB().ExecContext(ctx, insert, d.JID.String(), f.maxPreKey, key.Priv[:]); err != nil {
		return fmt.Errorf("keep the numbering of prekeys: %w", err)
	}
	return nil
}

func writeAll(path string, in io.Reader) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = io.Copy(f, in)
	return err
}

// Export closes a session for good on this side and returns it as a whatsmeow
// SQLite file. It is taken for that, so nobody uses it meanwhile; its log is left
// without a seal, so that a start from the cloud, should there ever be one, is
// safe: by then somebody else has moved the Signal state on. Until the file is there
// the session is to be open: if the export fails, a heartbeat opens it again.
func (l Local) Export(ctx context.Context, id string) (file []byte, start string, err error) {
	m := l.m
	s, err := m.entry(id)
	if err != nil {
		return nil, "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.current(); o != nil && (o.fresh.Load() || o.local.Load()) {
		return nil, "", fmt.Errorf("export: %w: it has no copy in the cloud", ErrNoSession)
	}
	leave, err := m.placeOf(s)
	if err != nil {
		return nil, "", err
	}
	defer leave()
	if err := m.pushFirst(ctx, s); err != nil {
		return nil, "", err
	}
	if err := m.closeInTime(ctx, s, release{reserveFor: m.opt.Lease.ConnectorID(), wanted: cloudstore.WantedOpen}); err != nil {
		return nil, "", fmt.Errorf("close the session to export it: %w", err)
	}
	o, err := m.acquire(ctx, s, openRequest{reason: "export", anyWanted: true})
	if err != nil {
		return nil, "", err
	}
	start = replicate.StartExact
	if o.safe {
		start = replicate.StartSafe
	}
	file, err = exportFile(ctx, o.file, filepath.Join(s.files.dir, "export.db"))
	if err != nil {
		err = errors.Join(err, o.shut())
		m.giveBack(ctx, s, o.taken, o.own, err)
		return nil, "", err
	}
	return file, start, m.leave(s, o)
}

func exportFile(ctx context.Context, f *capture.File, path string) (file []byte, err error) {
	if err := discard(path); err != nil {
		return nil, fmt.Errorf("remove an unfinished file: %w", err)
	}
	defer func() { err = errors.Join(err, discard(path)) }()
	if _, err := sqlitefile.Export(ctx, f.DB(), path); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// StateExported is a session that was moved out, to another program.
const StateExported whatsapp.State = "exported"

// leave ends a term without a seal and leaves the session closed.
func (m *Manager) leave(s *session, o *opened) error {
	const detail = "it was moved out to another program; opening it here again starts safely and takes the socket from that program"
	ctx, cancel := context.WithTimeout(m.hard, m.stopTime)
	defer cancel()
	err := errors.Join(m.leaveMessages(ctx, s, o), o.shut(), s.files.setAside())
	s.setState(StateExported, detail)
	return errors.Join(err,
		m.opt.Store.SetState(ctx, s.id, o.taken.Epoch, string(StateExported), detail),
		m.opt.Store.Release(ctx, s.id, o.taken.Epoch, "", 0, cloudstore.WantedClosed))
}
