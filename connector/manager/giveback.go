package manager

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cloudsession/connector/logctx"
	"cloudsession/connector/replicate"
	"cloudsession/connector/whatsapp"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/envelope"
	"cloudsession/shared/sessionlog"
)

// StateFailed is a session that a connector took and could not open. The detail
// says why; it is tried again, less and less often.
const StateFailed whatsapp.State = "failed"

// giveBack frees a session whose opening failed before any socket (O7). A term
// that would have gone on exactly did nothing, so it is sealed at once: the next
// start must not be less exact because of it. One that was to go on with this
// machine's own file is not freed: nobody else has what is in it and not pushed yet.
// If this process is ending, its next one goes first, as after a close.
func (m *Manager) giveBack(ctx context.Context, s *session, taken cloudstore.Taken, own bool, cause error) {
	ctx, cancel := context.WithTimeout(logctx.Onto(m.hard, ctx), m.stopTime)
	defer cancel()
	_, detail := outcomeOf(cause)
	s.setState(StateFailed, detail)
	var errs []error
	if taken.Start == replicate.StartExact {
		errs = append(errs, m.sealEmpty(ctx, s.id, taken))
	}
	wanted := taken.Parent.Owner.Wanted
	if taken.Parent.Owner.Epoch == 0 || taken.Start == replicate.StartNew { // nobody has ever had it open
		wanted = cloudstore.WantedClosed
	}
	if wanted != cloudstore.WantedRest { // how that one ended stays in its row
		errs = append(errs, m.opt.Store.SetState(ctx, s.id, taken.Epoch, string(StateFailed), detail))
	}
	// Without a whole copy in the cloud the session is worth something only here.
	inCloud := taken.Parent.Owner.Backup != cloudstore.BackupOff && taken.Parent.HasCredentials
	if inCloud && !own || taken.Start == replicate.StartNew {
		var reserveFor string
		var reserve time.Duration
		if m.life.Err() != nil && wanted != cloudstore.WantedClosed {
			reserveFor, reserve = m.opt.Lease.ConnectorID(), reserveTime
		}
		errs = append(errs, m.opt.Store.Release(ctx, s.id, taken.Epoch, reserveFor, reserve, wanted))
	}
	if err := errors.Join(errs...); err != nil {
		// It stays ours under this incarnation; the next sweep takes it again.
		s.log.WarnContext(ctx, "session not released", "error", err)
	}
}

// sealEmpty seals a term that pushed nothing.
func (m *Manager) sealEmpty(ctx context.Context, id string, taken cloudstore.Taken) error {
	salt, err := envelope.SaltOf(taken.Parent.Terminator.Data) // exact: there is a seal
	if err != nil {
		return fmt.Errorf("read salt of the seal: %w", err)
	}
	seal, err := sessionlog.SealTerminator(m.opt.Keys, id, salt, sessionlog.Cursor{Epoch: taken.Epoch, Tag: taken.ParentTag})
	if err != nil {
		return fmt.Errorf("seal an empty term: %w", err)
	}
	if _, err := m.opt.Store.AppendSegments(ctx, []cloudstore.Segment{seal}); err != nil {
		return fmt.Errorf("seal an empty term: %w", err)
	}
	return nil
}
