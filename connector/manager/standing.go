package manager

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cloudsession/shared/cloudstore"
)

// stand is what an owner row says about a term that this process holds.
type stand int

const (
	standOurs    stand = iota
	standDeleted       // ours, but a DELETE has removed the copy (O10)
	standRetaken       // this connector has a later term: a take of this process whose answer was lost, or a restored database
	standLost
)

// loss says how a session was lost, for counting and in words.
type loss struct {
	kind Loss
	text string
}

// foreignRows is the loss of a session whose owner row says that it is ours.
var foreignRows = loss{LossLog, "its log in the cloud holds rows that this connector did not write"}

// standing reads an owner row; why says how the session was lost.
func (m *Manager) standing(owner cloudstore.Owner, o *opened) (what stand, why loss) {
	mine := owner.ConnectorID == m.opt.Lease.ConnectorID()
	switch {
	case mine && owner.Epoch == o.taken.Epoch && owner.Backup == cloudstore.BackupOff:
		return standDeleted, loss{}
	case mine && owner.Epoch == o.taken.Epoch:
		return standOurs, loss{}
	case mine && owner.Epoch > o.taken.Epoch:
		return standRetaken, loss{}
	case owner.Epoch < o.taken.Epoch:
		return standLost, loss{LossDatabase, "the database is older than this session's term: was it restored from a backup? Then run: connector database-restored"}
	case owner.ConnectorID == "" && owner.Epoch == o.taken.Epoch:
		return standLost, loss{LossReleased, "its owner row was released"}
	case owner.ConnectorID == "":
		return standLost, loss{LossReleased, "it was taken and released meanwhile, or the database was restored from a backup"}
	default:
		return standLost, loss{LossTaken, fmt.Sprintf("connector %s took it", owner.ConnectorID)}
	}
}

// noteOwned looks at an owner row of this connector's.
func (m *Manager) noteOwned(row cloudstore.Owner) {
	// Also what an earlier process left so: it died between the writing of the session's end and its release.
	release := row.Backup != cloudstore.BackupOff && !m.opensByItself(row)
	m.mu.Lock()
	s, known := m.sessions[row.SessionID]
	if !known && release && !m.closing {
		s, known = m.entryLocked(row.SessionID), true
	}
	m.mu.Unlock()
	if !known {
		return
	}
	s.setFailover(row.Failover)
	m.keepAll(s, row)
	if release && s.current() == nil {
		m.releaseLater(s)
	}
}

// keepAll has everything of a session pushed that was opened with the credentials alone
// and of which somebody has chosen since to keep all. The other way round is for the
// next start: until then the log is the newest state, whatever the row says meanwhile.
func (m *Manager) keepAll(s *session, row cloudstore.Owner) {
	o := s.current()
	if o == nil || row.Backup != cloudstore.BackupFull || row.Epoch != o.taken.Epoch || o.rep.Backup() != cloudstore.BackupCredentials {
		return
	}
	s.log.Info("everything of the session is backed up from now on, not its credentials alone", "epoch", row.Epoch)
	o.rep.KeepAll()
}

// confirmLoss looks at the owner row once more before a session is given up. An
// epoch that a plain read calls over must be refused by a write as well.
func (m *Manager) confirmLoss(s *session, o *opened) {
	ctx, cancel := context.WithTimeout(m.life, stateTime)
	defer cancel()
	owner, err := m.opt.Store.Owner(ctx, s.id)
	if err != nil {
		m.logUnlessEnding(m.life, "read owner of session", err)
		return
	}
	what, why := m.standing(owner, o)
	if what != standLost {
		return
	}
	if owner.Epoch != o.taken.Epoch {
		state, detail := s.stateNow()
		err := m.opt.Store.SetState(ctx, s.id, o.taken.Epoch, string(state), detail)
		if !errors.Is(err, cloudstore.ErrFenced) {
			return // it was the read that was out of date, or the next heartbeat asks again
		}
	}
	m.loseIf(s, o, why)
}

// fenced finds out why the log refused a push: the copy was deleted (O10: the
// session goes on locally) or the session is somebody else's.
func (m *Manager) fenced(s *session, o *opened) {
	var owner cloudstore.Owner
	known := m.insist("read owner of session", func(ctx context.Context) (err error) {
		owner, err = m.opt.Store.Owner(ctx, s.id)
		return err
	})
	if known {
		m.afterFence(s, o, owner)
	}
}

// insist does something until it succeeds, and reports false if the manager's life ends before.
func (m *Manager) insist(what string, do func(context.Context) error) bool {
	for attempt := 0; ; attempt++ {
		ctx, cancel := context.WithTimeout(m.life, stateTime)
		err := do(ctx)
		cancel()
		if err == nil {
			return true
		}
		m.logUnlessEnding(m.life, what, err)
		select {
		case <-m.life.Done():
			return false
		case <-time.After(min(firstPause<<min(attempt, 5), longPause)):
		}
	}
}

func (m *Manager) afterFence(s *session, o *opened, owner cloudstore.Owner) {
	switch what, why := m.standing(owner, o); what {
	case standDeleted, standRetaken: // a new copy is being made, or was about to be
		o.local.Store(true)
		s.log.Info("cloud copy was deleted: the session goes on locally, a sync makes a new copy")
		m.insist("finish delete of session", func(ctx context.Context) error { return m.finishDelete(ctx, owner) })
	case standLost:
		m.loseIf(s, o, why)
	default:
		m.loseIf(s, o, foreignRows)
	}
}

// finishDelete removes what the last push of a session may have left in the cloud after its copy was
// deleted: parts of it can arrive behind the mark. A later term's log replaces it by itself.
func (m *Manager) finishDelete(ctx context.Context, owner cloudstore.Owner) error {
	if owner.Backup != cloudstore.BackupOff {
		return nil
	}
	err := m.opt.Store.FinishDelete(ctx, owner.SessionID, owner.Epoch)
	if errors.Is(err, cloudstore.ErrFenced) {
		return nil
	}
	return err
}

// loseIf closes a session that is not this connector's any more, if it still is
// the one that o stands for: nothing is sent, acknowledged or pushed from now on,
// and the file is set aside, its Signal state never to be used again.
func (m *Manager) loseIf(s *session, o *opened, why loss) {
	if s.current() == o {
		// Before the lock: whoever holds it may be waiting for something.
		if err := o.abort(); err != nil {
			s.log.Warn("lost session did not end in time", "error", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current() == o {
		m.loseLocked(m.life, s, why)
	}
}

// abort closes the socket and lets nothing more through (O7).
func (o *opened) abort() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	return o.wa.Abort(ctx)
}
