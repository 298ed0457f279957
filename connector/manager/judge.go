package manager

import (
	"context"
	"errors"
	"fmt"

	"cloudsession/connector/replicate"
	"cloudsession/connector/whatsapp"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/sessionlog"
)

// noteDamage shows in the owner row why the session can't be opened, if nobody
// else holds it and it hasn't ended: how it did is said there then.
func (m *Manager) noteDamage(ctx context.Context, s *session, owner cloudstore.Owner, cause error) {
	_, detail := outcomeOf(cause)
	s.setState(StateFailed, detail)
	if owner.ConnectorID != "" && owner.ConnectorID != m.opt.Lease.ConnectorID() || owner.Wanted == cloudstore.WantedRest {
		return
	}
	if err := m.opt.Store.SetState(ctx, s.id, owner.Epoch, string(StateFailed), detail); err != nil {
		s.log.WarnContext(ctx, "state not written", "error", err)
	}
}

// errLogDamaged is what the log itself shows before a row of it is opened. Nothing
// is changed then, so that it can be mended: what is left must not pass for all
// there is.
var errLogDamaged = errors.New("the copy in the cloud is damaged")

func (m *Manager) checkLog(parent cloudstore.Parent) error {
	var err error
	if parent.Damaged {
		err = fmt.Errorf("epoch %d, behind seq %d: %w", parent.Epoch.Epoch, parent.LastSeq, sessionlog.ErrMissing)
	} else if err = replicate.CheckSeal(m.opt.Keys, parent); errors.Is(err, sessionlog.ErrWrongSecret) {
		return fmt.Errorf("judge the seal: %w", err)
	}
	if err != nil {
		err = fmt.Errorf("%w: %w", errLogDamaged, err)
	}
	return err
}

// judge decides how a term starts (section 7 of the design).
func (m *Manager) judge(p *prior, parent cloudstore.Parent, r openRequest) (string, error) {
	p.local = false // a take that starts over judges again
	if r.again {
		return replicate.StartNew, nil
	}
	if r.create {
		if r.staged.replaces() {
			return replicate.StartNew, nil
		}
		if parent.HasCredentials && parent.Owner.State != string(whatsapp.StateLoggedOut) {
			return "", ErrPaired // a new identity is never minted over an existing session
		}
		return replicate.StartNew, nil
	}
	if r.at != nil {
		if !parent.HasLog && parent.HasCredentials {
			return "", replicate.ErrNoPoint // only the credentials were kept
		}
		if !parent.HasLog {
			return "", ErrNoSession
		}
		return replicate.StartSafe, nil // what is damaged behind the point does not matter
	}
	if err := m.checkLog(parent); err != nil {
		return "", err
	}
	exact, err := replicate.JudgeExact(m.opt.Keys, parent, replicate.HighWater(p.high))
	switch {
	case err != nil:
		return "", fmt.Errorf("judge the seal: %w", err)
	case exact: // before own-file: a sealed file is never opened again, even by its owner (O6)
		return replicate.StartExact, nil
	case p.file != nil && !p.tainted && replicate.CanResumeOwnFile(p.state, parent, p.boot, p.inode):
		return replicate.StartOwnFile, nil
	case p.file != nil && replicate.HoldsNewest(p.state, parent, p.inode):
		p.local = true // marked, or of an earlier boot: stale Signal state, but nothing newer anywhere
		return replicate.StartSafe, nil
	case m.onlyCopy(p, parent):
		p.local = true // after a reboot, say: stale or not, there is no other copy
		return replicate.StartSafe, nil
	case !parent.HasCredentials:
		return "", ErrNoSession // they come with the first whole base: there are parts of one at most (P7)
	default:
		return replicate.StartSafe, nil
	}
}

// onlyCopy tells whether this machine's file is all there is of the session: its
// backup is off, or a term that began without a log ended before its first base,
// and the credentials with it, was durable, and nobody else has the session.
func (m *Manager) onlyCopy(p *prior, parent cloudstore.Parent) bool {
	switch {
	case p.file == nil || p.state.SessionID != parent.Owner.SessionID:
		return false
	case parent.Owner.Backup == cloudstore.BackupOff:
		return true
	case parent.HasCredentials:
		return false
	case parent.Owner.ConnectorID != "" && parent.Owner.ConnectorID != m.opt.Lease.ConnectorID():
		return false
	case p.state.Epoch == parent.Epoch.Epoch:
		return true // the term's own file, from before a reboot, say
	}
	// The take was committed and the file never learned of it. A new identity was
	// not to go on with the file; everything else was.
	return parent.Epoch.Start != replicate.StartNew || parent.Epoch.Reason == reasonAgain
}
