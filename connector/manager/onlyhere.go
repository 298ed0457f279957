package manager

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"cloudsession/connector/capture"
	"cloudsession/connector/control"
	"cloudsession/connector/inbox"
	"cloudsession/connector/replicate"
	"cloudsession/shared/cloudstore"
)

// only reports, oldest first, the messages that nobody else has: not durable in TiDB
// and not taken by the application. Without one nobody knows who has read them.
func (l *leftover) only(ctx context.Context, report func(inbox.Message) error) error {
	if !l.all {
		if any, err := l.file.IsDirty(ctx, "inbox_messages"); err != nil || !any {
			return err
		}
	}
	next := l.unpushed
	delivers, err := l.Delivers(ctx)
	if err != nil {
		return err
	}
	if delivers {
		next = l.undelivered
	}
	for after := int64(0); ; {
		page, last, err := next(ctx, after)
		if err != nil || last == 0 {
			return err
		}
		for _, msg := range page {
			if err := report(msg); err != nil {
				return err
			}
		}
		after = last
	}
}

// unpushed is a page of the messages that TiDB may not have, and the number of the last
// one looked at; 0 at the end.
func (l *leftover) unpushed(ctx context.Context, after int64) (page []inbox.Message, last int64, err error) {
	list, err := l.List(ctx, after, messagesAtOnce)
	for _, msg := range list {
		last = msg.Seq
		mine, err := l.mine(ctx, msg.Seq)
		if err != nil {
			return nil, 0, err
		}
		if mine {
			page = append(page, msg)
		}
	}
	return page, last, err
}

// undelivered is unpushed for those that the application has not taken.
func (l *leftover) undelivered(ctx context.Context, after int64) (page []inbox.Message, last int64, err error) {
	list, err := l.Undelivered(ctx, after, messagesAtOnce)
	for _, pending := range list {
		last = pending.Seq
		msg, err := l.List(ctx, pending.Seq-1, 1)
		if err != nil {
			return nil, 0, err
		}
		page = append(page, msg...)
	}
	return page, last, err
}

// onlyIn returns the messages that a file alone holds.
func onlyIn(ctx context.Context, path string) (list []inbox.Message, err error) {
	l, err := openEnded(ctx, path)
	if err != nil || l == nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.file.Close()) }()
	err = l.only(ctx, func(msg inbox.Message) error {
		msg.Payload = nil // may be large, and is not shown
		list = append(list, msg)
		return nil
	})
	return list, err
}

// errFound ends a search.
var errFound = errors.New("found")

// holdsMessages reports whether a file that was set aside must stay: it alone holds
// some, or that can't be told.
func holdsMessages(path string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	l, err := openEnded(ctx, path)
	if err == nil && l != nil {
		err = l.only(ctx, func(inbox.Message) error { return errFound })
		_ = l.file.Close() // it was only looked at
	}
	return err != nil && !errors.Is(err, capture.ErrCorrupt) && !errors.Is(err, os.ErrNotExist)
}

// sayOnlyHere logs how many messages nobody but a file that was just set aside has.
func (m *Manager) sayOnlyHere(ctx context.Context, s *session, name string) {
	path := filepath.Join(s.files.dir, "aside", filepath.Base(name))
	list, err := onlyIn(ctx, path)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		s.log.WarnContext(ctx, "messages of a file that was set aside not counted", "file", path, "error", err)
	case len(list) > 0 && m.opt.Webhook != nil:
		s.log.WarnContext(ctx, "messages that only this file holds are delivered from it", "messages", len(list), "file", path)
	case len(list) > 0:
		s.log.WarnContext(ctx, "messages that only this file holds; the option --lost of `connector messages` shows them",
			"messages", len(list), "file", path)
	}
}

// saySuperseded is sayOnlyHere for the file that a term began without. Of a term that
// this machine sealed itself everything is in the log.
func (m *Manager) saySuperseded(ctx context.Context, s *session, p *prior, taken cloudstore.Taken) {
	sealed := taken.Start == replicate.StartExact && p.state.Epoch == taken.Parent.Epoch.Epoch
	if p.file == nil || sealed {
		return
	}
	if err := p.file.Close(); err != nil {
		s.log.WarnContext(ctx, "session file that was set aside not closed cleanly", "error", err)
		return
	}
	m.later(func() { m.sayOnlyHere(m.life, s, p.file.Path()) }) // nobody is to wait for it
}

// Lost reports the messages of a session that only files of its ended terms on this
// machine hold, by their terms. While the session isn't open here its own file is one
// of them: another connector may have gone on without it.
func (l Local) Lost(ctx context.Context, id string, report func(control.Message) error) error {
	list, err := l.m.lost(ctx, id)
	if err != nil {
		return err
	}
	for _, msg := range list {
		if err := report(message(id, msg)); err != nil {
			return err
		}
	}
	return nil
}

func (m *Manager) lost(ctx context.Context, id string) ([]inbox.Message, error) {
	s, err := m.entry(id)
	if err != nil {
		return nil, err
	}
	if err := s.lockSoon(ctx); err != nil { // files are moved under the lock
		return nil, err
	}
	defer s.mu.Unlock()
	files, err := filepath.Glob(filepath.Join(s.files.dir, "aside", "*.db"))
	if err != nil {
		return nil, fmt.Errorf("list files of ended terms: %w", err)
	}
	byEpoch(files)
	slices.Reverse(files)
	if s.current() == nil {
		path, ok, err := s.files.adopted()
		if err != nil && !errors.Is(err, errDamaged) {
			return nil, err
		}
		if ok {
			files = append(files, path)
		}
	}
	var all []inbox.Message
	for _, path := range files {
		list, err := onlyIn(ctx, path)
		if errors.Is(err, capture.ErrCorrupt) {
			s.log.ErrorContext(ctx, "file of an ended term can't be read; messages only it held are lost", "file", path, "error", err)
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return all, nil
}

// errBusy: the session is being opened, paired, closed or moved.
var errBusy = errors.New("session is being opened, paired or closed: try again")

// lockSoon locks the session, unless whoever has the lock takes long: a pairing waits
// for a person.
func (s *session) lockSoon(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stateTime)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !s.mu.TryLock() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errBusy
		}
	}
	return nil
}

// notOpen is ErrNotOpen with what is known of where the session is, and of what it
// has left here.
func (m *Manager) notOpen(ctx context.Context, id string) error {
	err := ErrNotOpen
	owner, ownerErr := m.opt.Store.Owner(ctx, id) // it only adds to the text
	if ownerErr == nil && owner.ConnectorID != "" && owner.ConnectorID != m.opt.Lease.ConnectorID() {
		err = fmt.Errorf("%w: connector %s holds it", err, owner.ConnectorID)
	}
	list, lostErr := m.lost(ctx, id)
	if lostErr != nil {
		return fmt.Errorf("%w; what its files here hold can't be told: %w", err, lostErr)
	}
	if len(list) > 0 {
		err = fmt.Errorf("%w; %d messages are only in files of this machine: --lost shows them", err, len(list))
	}
	return err
}
