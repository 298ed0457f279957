package replicate

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"time"

	"cloudsession/connector/capture"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/envelope"
	"cloudsession/shared/sessionlog"
)

func (r *Replicator) attach(ctx context.Context, f *capture.File, term Term) (*Session, error) {
	if err := cloudstore.ValidateSessionID(term.SessionID); err != nil {
		return nil, err
	}
	if term.Epoch == 0 {
		return nil, fmt.Errorf("attach session %s: no epoch", term.SessionID)
	}
	s := r.newSession(f, term)
	err := r.reserve(s)
	if err == nil {
		if err = s.prepare(ctx); err == nil {
			err = r.start(s)
		}
		if err != nil {
			r.forget(s)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("attach session %s, epoch %d: %w", term.SessionID, term.Epoch, err)
	}
	return s, nil
}

// prepare makes the file and s agree on the term.
func (s *Session) prepare(ctx context.Context) error {
	state, err := s.file.State(ctx)
	if err != nil {
		return err
	}
	if state.SessionID == s.term.SessionID && state.Epoch == s.term.Epoch {
		err = s.continueTerm(ctx, state)
	} else {
		err = s.beginTerm(ctx, state)
	}
	if err != nil {
		return err
	}
	if state, err = s.file.State(ctx); err != nil {
		return err
	}
	s.needBase, s.urgent, s.size = state.NeedBase, true, state.Log
	s.status.Cursor = s.cursor
	if state.Dirty || state.NeedBase {
		s.lastChange = time.Now()
		s.dirtySince = s.lastChange
	}
	return nil
}

func (r *Replicator) newSession(f *capture.File, term Term) *Session {
	h := fnv.New32a()
	_, _ = h.Write([]byte(term.SessionID)) // never fails (hash.Hash)
	return &Session{
		r: r, lane: r.lanes[h.Sum32()%uint32(len(r.lanes))], log: r.opt.Log, term: term, //nolint:gosec // G115: a handful of lanes
		wake: make(chan struct{}, 1), stopping: make(chan struct{}), done: make(chan struct{}),
		worker: worker{file: f},
	}
}

// beginTerm records a new term in the file, after settling what the parent's log shows of the file's
// own last push.
func (s *Session) beginTerm(ctx context.Context, state capture.State) error {
	if s.term.Start == cloudstore.StartOwnFile && s.term.Backup != cloudstore.BackupOff {
		if err := ResumeOwnFile(ctx, s.file, state, s.term.Parent); err != nil {
			return err
		}
	}
	s.salt = s.term.Salt
	if s.salt == (envelope.Salt{}) && state.SessionID == s.term.SessionID {
		s.salt = state.Salt
	}
	if s.salt == (envelope.Salt{}) {
		s.salt = envelope.NewSalt()
	}
	if s.term.Backup == cloudstore.BackupCredentials && s.term.Parent.Seq != 0 {
		s.forget = true
		s.term.Parent, s.term.Log = sessionlog.Cursor{}, LogSize{}
	}
	begin := capture.Begin{
		SessionID: s.term.SessionID, Epoch: s.term.Epoch, Salt: s.salt, Acked: s.term.Parent, Log: s.term.Log, BootID: s.term.BootID,
		NeedBase: s.term.Parent.Seq == 0 || s.term.Start == cloudstore.StartSafe || s.term.Start == cloudstore.StartNew,
	}
	if err := s.file.Begin(ctx, begin); err != nil {
		return fmt.Errorf("record the term in the file: %w", err)
	}
	s.cursor = sessionlog.Cursor{Epoch: s.term.Epoch, Tag: s.term.Parent.Tag}
	s.credsDirty = !begin.NeedBase && s.term.Backup != cloudstore.BackupOff
	return nil
}

// continueTerm goes on with a term that the file already carries.
func (s *Session) continueTerm(ctx context.Context, state capture.State) error {
	if state.InFlight != nil {
		if err := s.lookUpInFlight(ctx, *state.InFlight); err != nil {
			return err
		}
		state.Acked = state.InFlight.Last()
	}
	s.salt = state.Salt
	s.cursor = sessionlog.Cursor{Epoch: s.term.Epoch, Tag: state.Acked.Tag}
	if state.Acked.Epoch == s.term.Epoch {
		s.cursor = state.Acked
		s.basePushed = true // or the term needed none; the credentials row is written by itself below
	}
	s.credsDirty = s.basePushed && s.term.Backup != cloudstore.BackupOff
	return nil
}

// lookUpInFlight acknowledges a push whose bytes are gone, if all of it is in the log. If it isn't, it
// could still arrive, and other bytes in its place would look like somebody else's.
func (s *Session) lookUpInFlight(ctx context.Context, p capture.InFlight) error {
	last := p.Last()
	rows, err := s.r.store.Segments(ctx, s.term.SessionID, p.Epoch, p.FirstSeq, last.Seq)
	if err != nil {
		return fmt.Errorf("look for the push in flight: %w", err)
	}
	if len(rows) != len(p.Tags) {
		return ErrUnknownOutcome
	}
	for i, row := range rows {
		if row.Tag != p.Tags[i] {
			return ErrFenced
		}
	}
	return s.file.Acknowledge(ctx, p)
}

// ResumeOwnFile settles, before a new term begins in a file, the push that the file has in flight:
// parent is the last data row of the lineage, as the take found it. What became durable is
// acknowledged; what didn't, or only in part, is still dirty and is pushed again in the new term.
// Attach calls it for an own-file start.
func ResumeOwnFile(ctx context.Context, f *capture.File, state capture.State, parent sessionlog.Cursor) error {
	seq := parent.Seq
	if parent.Epoch != state.Epoch {
		seq = 0 // the file's term left no row: the lineage ends before it
	}
	parts, ok := known(state, seq, parent.Tag)
	if !ok {
		return errors.New("the log doesn't end where the file left it")
	}
	if parts == 0 || parts < len(state.InFlight.Tags) {
		return nil
	}
	if err := f.Acknowledge(ctx, *state.InFlight); err != nil {
		return fmt.Errorf("acknowledge the push that was in flight: %w", err)
	}
	return nil
}
