package manager

import (
	"context"
	"errors"
	"fmt"

	"go.mau.fi/whatsmeow/store/sqlstore"

	"cloudsession/connector/baileys"
	"cloudsession/connector/capture"
	"cloudsession/connector/ownership"
	"cloudsession/connector/replicate"
	"cloudsession/connector/whatsapp"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/sessionlog"
)

// build makes the file of a term ready to connect: resumed, restored or new;
// on a safe start with the stale Signal state dropped and the base durable (O5).
func (m *Manager) build(ctx context.Context, s *session, p *prior, taken cloudstore.Taken) (_ *opened, err error) {
	mark := ownership.HighWater{Epoch: taken.Epoch}
	if err := mark.Raise(s.files.highWaterPath()); err != nil {
		return nil, err
	}
	o := m.newOpened(taken)
	o.safe = taken.Start == replicate.StartSafe || p.staged.safe()
	o.fresh.Store(taken.Start == replicate.StartNew && p.staged == nil)
	term := replicate.Term{
		SessionID: s.id, Epoch: taken.Epoch, Start: taken.Start, BootID: p.boot, Backup: taken.Parent.Owner.Backup,
		Parent: sessionlog.Cursor{Epoch: taken.ParentEpoch, Seq: taken.ParentSeq, Tag: taken.ParentTag},
	}
	if taken.Start == replicate.StartNew && term.Backup == cloudstore.BackupOff {
		term.Backup = cloudstore.BackupFull
	}
	var restored replicate.Restored
	path := s.files.newPath(taken.Epoch)
	if o.own = p.startsHere(taken); o.own {
		o.file, p.file = p.file, nil // handed on: prior must not close it
		path, term.Salt = o.file.Path(), p.state.Salt
	} else {
		if restored, err = m.newFile(ctx, s, o, p, path); err != nil {
			return nil, err
		}
		term.Salt, term.Log = restored.Salt, restored.Log
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, o.shut())
			if !o.own {
				err = errors.Join(err, discard(path))
			}
		}
	}()
	if err := m.prepare(ctx, s, o, term, restored); err != nil {
		return nil, err
	}
	if err := s.files.adopt(path, taken.Epoch); err != nil {
		return nil, err
	}
	if o.fromCloud = !o.own && taken.Start != replicate.StartNew; o.fromCloud {
		s.log.InfoContext(ctx, fmt.Sprintf("✓ Session %s loaded from cloud", s.id), "start", taken.Start, "epoch", taken.Epoch)
	}
	return o, nil
}

// newFile restores the file of a term from the cloud, or makes an empty one.
func (m *Manager) newFile(ctx context.Context, s *session, o *opened, p *prior, path string) (restored replicate.Restored, err error) {
	if err := discard(path); err != nil {
		return restored, fmt.Errorf("remove an unfinished file: %w", err)
	}
	if p.staged != nil {
		restored, err = p.staged.adopt(path)
		if err != nil {
			return restored, err
		}
	} else if !o.fresh.Load() {
		if restored, err = m.restoreFile(ctx, o.taken, p.at, path); err != nil {
			return restored, err
		}
		if before := o.taken.Parent.Owner; restored.CredentialsOnly && before.Epoch > 0 && before.Backup == cloudstore.BackupFull {
			// Its first base never became whole, or all of its log is gone: the rows don't tell.
			s.log.WarnContext(ctx, "no whole base of the session is in the cloud: it is restored from its credentials alone")
		}
	}
	o.file, err = capture.Open(ctx, path, capture.Options{OnCommit: s.changed})
	if err != nil || !restored.CredentialsOnly || p.staged != nil {
		return restored, err
	}
	if err := fillFromCredentials(ctx, o.file, restored.Credentials); err != nil {
		return restored, errors.Join(err, o.file.Close(), discard(path))
	}
	return restored, nil
}

// fillFromCredentials makes a session file of nothing but the credentials row.
func fillFromCredentials(ctx context.Context, f *capture.File, credentials []byte) error {
	if err := sqlstore.NewWithDB(f.DB(), "sqlite3", nil).Upgrade(ctx); err != nil {
		return fmt.Errorf("create session tables: %w", err)
	}
	if err := baileys.InsertDevice(ctx, f.DB(), credentials); err != nil {
		return fmt.Errorf("restore from credentials: %w", err)
	}
	return nil
}

// prepare opens the file for whatsmeow and attaches replication to it.
func (m *Manager) prepare(ctx context.Context, s *session, o *opened, term replicate.Term, restored replicate.Restored) (err error) {
	o.wa, err = whatsapp.Open(ctx, whatsapp.Config{
		SessionID: s.id, File: o.file, Endpoint: m.opt.Endpoint, Log: m.log, DeviceName: m.opt.DeviceName,
		OnState:    func(state whatsapp.State, detail string) { m.onState(s, o, state, detail) },
		MayConnect: func(ctx context.Context) error { return m.mayConnect(ctx, s) },
		Durable:    func(ctx context.Context) error { return m.durable(ctx, s, o) },
		Kept:       func(ctx context.Context) error { return m.kept(ctx, s, o) },
		Observer:   m.opt.Traffic,
		Grace:      m.grace,
	})
	if err != nil {
		return fmt.Errorf("open session file: %w", err)
	}
	if err := m.prepareDelivery(ctx, o); err != nil {
		return err
	}
	if o.safe {
		err = o.wa.PrepareSafe(ctx, whatsapp.PrepareSafe{
			MaxPreKeyID: restored.MaxPreKeyID, CredentialsOnly: restored.CredentialsOnly, Epoch: term.Epoch,
		})
		if err != nil {
			return fmt.Errorf("drop stale state: %w", err)
		}
	} else if term.Start == replicate.StartNew {
		// An earlier pairing of the session may have shown messages.
		if err := o.wa.Inbox().SkipAhead(ctx, term.Epoch); err != nil {
			return err
		}
	}
	if o.rep, err = m.opt.Replicator.Attach(ctx, o.file, term); err != nil {
		return fmt.Errorf("attach replication: %w", err)
	}
	based := o.safe || term.Start == replicate.StartNew && !o.fresh.Load()
	if based && term.Backup != cloudstore.BackupOff {
		return m.pushBase(ctx, o.rep)
	}
	return nil
}
