package manager

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"cloudsession/connector/capture"
	"cloudsession/connector/inbox"
	"cloudsession/connector/webhook"
	"cloudsession/shared/cloudstore"
)

const (
	leftoversEvery = 3 * time.Second // how often the files of ended terms are looked through
	leftoversOpen  = 32              // of them open at a time
	orphanAge      = 10 * time.Second
	// settlingPasses is how many passes leave alone what may be a session's file:
	// after a start most of them are about to be opened.
	settlingPasses = 2
	termFiles      = "[0-9]*.db" // of terms: not what is imported or exported
	// deliverRest is the mark of a file whose session has ended for good: nobody
	// opens it again, so all it has not delivered is left to be delivered from it.
	deliverRest = "deliver_rest"
)

// leftover is a file that is of no use as a session any more, but holds messages
// nobody else has: acknowledged to WhatsApp, never durable in TiDB, not taken by
// the application (A2). Only its inbox is read; what is delivered is noted in it.
type leftover struct {
	*inbox.Inbox
	file *capture.File
	all  bool // nobody else delivers anything of this session
	id   string
}

// openLeftover opens a file of an ended term. It returns nil if there is nothing
// in it to deliver.
func openLeftover(ctx context.Context, path string) (*leftover, error) {
	l, err := openEnded(ctx, path)
	if err != nil || l == nil {
		return nil, err
	}
	list, err := l.Undelivered(ctx, 0, 1)
	if err != nil || len(list) == 0 {
		return nil, errors.Join(err, l.file.Close())
	}
	return l, nil
}

// openEnded opens a file of an ended term, whatever is in it. It returns nil if no
// term ever began in it.
func openEnded(ctx context.Context, path string) (*leftover, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("look for session file: %w", err)
	}
	f, err := capture.Open(ctx, path, capture.Options{})
	if err != nil {
		return nil, err
	}
	l := &leftover{file: f, Inbox: inbox.New(f.DB(), inbox.Options{})}
	begun, err := l.look(ctx)
	if err != nil || !begun {
		return nil, errors.Join(err, f.Close())
	}
	return l, nil
}

// look reports whether a term ever began in the file.
func (l *leftover) look(ctx context.Context) (bool, error) {
	state, err := l.file.State(ctx)
	if err != nil {
		return false, err
	}
	if state.SessionID == "" {
		return false, nil
	}
	if err := inbox.Migrate(ctx, l.file.DB()); err != nil {
		return false, err
	}
	if _, err := l.Prune(ctx); err != nil {
		return false, err
	}
	_, rest, err := l.Mark(ctx, deliverRest)
	if err != nil {
		return false, err
	}
	// While a base is due, changes may have gone unnoted.
	l.id, l.all = state.SessionID, rest || state.NeedBase
	return true, nil
}

// mine reports whether only this file has a message.
func (l *leftover) mine(ctx context.Context, seq int64) (bool, error) {
	if l.all {
		return true, nil
	}
	return l.file.IsDirty(ctx, "inbox_messages", seq)
}

// Undelivered implements webhook.Box.
func (l *leftover) Undelivered(ctx context.Context, after int64, limit int) (list []inbox.Pending, err error) {
	for {
		page, err := l.Inbox.Undelivered(ctx, after, limit)
		if err != nil {
			return nil, err
		}
		for _, p := range page {
			after = p.Seq
			mine, err := l.mine(ctx, p.Seq)
			if err != nil {
				return nil, err
			}
			if mine {
				list = append(list, p)
			}
		}
		if len(page) < limit || len(list) >= limit {
			return list, nil
		}
	}
}

// NextUndelivered implements webhook.Box.
func (l *leftover) NextUndelivered(ctx context.Context, chats []string, after int64) (inbox.Message, bool, error) {
	for {
		m, ok, err := l.Inbox.NextUndelivered(ctx, chats, after)
		if err != nil || !ok {
			return m, ok, err
		}
		if mine, err := l.mine(ctx, m.Seq); err != nil || mine {
			return m, mine, err
		}
		after = m.Seq
	}
}

// leftovers delivers what the files of ended terms hold.
type leftovers struct {
	m       *Manager
	passes  int
	running map[string]*leftoverQueue
	nothing map[string]time.Time // files without anything to deliver, and when they were last written
}

type leftoverQueue struct {
	*leftover
	queue *webhook.Queue
}

func (m *Manager) newLeftovers() *leftovers {
	return &leftovers{m: m, running: map[string]*leftoverQueue{}, nothing: map[string]time.Time{}}
}

// deliverLeftovers looks through the files of ended terms until ctx ends. It
// needs no lease: what it delivers is nobody else's.
func (m *Manager) deliverLeftovers(ctx context.Context) error {
	if m.opt.Webhook == nil {
		return nil
	}
	l := m.newLeftovers()
	defer l.stop()
	tick := time.NewTicker(leftoversEvery)
	defer tick.Stop()
	for {
		l.pass(ctx)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (l *leftovers) stop() {
	var all sync.WaitGroup
	for path, q := range l.running {
		all.Go(func() {
			q.queue.Stop(deliveryGrace)
			l.closed(path, q)
		})
	}
	all.Wait()
}

func (l *leftovers) closed(path string, q *leftoverQueue) {
	if err := q.file.Close(); err != nil {
		l.m.log.Warn("file of an ended term not closed", "session", q.id, "file", path, "error", err)
	}
}

// pass ends what is through and begins what is new.
func (l *leftovers) pass(ctx context.Context) {
	if l.m.testWithout == "A2" {
		return
	}
	for path, q := range l.running {
		select {
		case <-q.queue.Done():
			l.m.log.Info("messages of an ended term delivered", "session", q.id, "file", path)
			l.closed(path, q)
			delete(l.running, path)
		default:
		}
	}
	dirs, err := filepath.Glob(filepath.Join(l.m.opt.DataDir, "sessions", "*"))
	if err != nil {
		l.m.log.Error("list session folders", "error", err)
		return
	}
	l.passes++
	held := l.m.byFolder()
	for _, dir := range dirs {
		if ctx.Err() != nil {
			return
		}
		if err := l.folder(ctx, dir, held[dir]); err != nil {
			l.m.logUnlessEnding(ctx, "messages of ended terms can't be looked for", err)
		}
	}
}

// byFolder maps the session folders to the sessions this process has dealt with.
func (m *Manager) byFolder() map[string]*session {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make(map[string]*session, len(m.sessions))
	for _, s := range m.sessions {
		out[s.files.dir] = s
	}
	return out
}

// folder looks through one session's files, unless they are being moved.
func (l *leftovers) folder(ctx context.Context, dir string, s *session) error {
	if s == nil {
		id, err := l.sessionIn(ctx, dir)
		if err != nil || id == "" {
			return errors.Join(err, l.aside(ctx, dir))
		}
		if s, err = l.m.entry(id); err != nil {
			return err
		}
	}
	if !s.mu.TryLock() {
		return nil // the next pass
	}
	defer s.mu.Unlock()
	err := setOrphansAside(s)
	if s.current() == nil && l.passes > settlingPasses {
		err = errors.Join(err, l.fenced(ctx, s))
	}
	return errors.Join(err, l.aside(ctx, dir))
}

// sessionIn is the session of a folder that this process has not dealt with, if
// something there has to be looked at with the session locked, else "".
func (l *leftovers) sessionIn(ctx context.Context, dir string) (string, error) {
	id, name, err := sessionOf(dir)
	if err != nil {
		return "", err
	}
	if id != "" {
		if l.passes <= settlingPasses {
			return "", nil
		}
		found, err := l.find(ctx, filepath.Join(dir, name))
		if err != nil || found == nil {
			return "", err
		}
		return id, found.file.Close()
	}
	files, err := filepath.Glob(filepath.Join(dir, termFiles))
	if err != nil {
		return "", fmt.Errorf("list session files: %w", err)
	}
	for _, path := range files {
		if time.Since(written(path)) < orphanAge {
			continue // it may be about to become a session's file
		}
		f, err := capture.Open(ctx, path, capture.Options{})
		if errors.Is(err, capture.ErrCorrupt) {
			continue
		}
		if err != nil {
			return "", err
		}
		state, err := f.State(ctx)
		if err := errors.Join(err, f.Close()); err != nil {
			return "", err
		}
		if state.SessionID != "" {
			return state.SessionID, nil
		}
	}
	return "", nil
}

// setOrphansAside finishes what a process that died may have left half done:
// a file that is no session's any more, and was not set aside yet.
func setOrphansAside(s *session) error {
	adopted, ok, err := s.files.adopted()
	if err != nil {
		return err
	}
	keep := ""
	if ok {
		keep = filepath.Base(adopted)
	}
	files, err := filepath.Glob(filepath.Join(s.files.dir, termFiles))
	if err != nil {
		return fmt.Errorf("list session files: %w", err)
	}
	for _, path := range files {
		if filepath.Base(path) != keep {
			return s.files.setAsideOthers(keep)
		}
	}
	return nil
}

// aside begins to deliver from the files that were set aside.
func (l *leftovers) aside(ctx context.Context, dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "aside", "*.db"))
	if err != nil {
		return fmt.Errorf("list files of ended terms: %w", err)
	}
	var errs []error
	for _, path := range files {
		if l.running[path] != nil || len(l.running) >= leftoversOpen {
			continue
		}
		found, err := l.find(ctx, path)
		errs = append(errs, err)
		if found == nil {
			continue
		}
		l.m.log.Info("delivering messages that only the file of an ended term holds", "session", found.id, "file", path)
		l.running[path] = &leftoverQueue{found, l.m.opt.Webhook.Start(webhook.Source{SessionID: found.id, Box: found, Once: true})}
	}
	return errors.Join(errs...)
}

// find opens a file if there is something to deliver in it. What it found to be
// without anything isn't opened again until it is written.
func (l *leftovers) find(ctx context.Context, path string) (*leftover, error) {
	if stamp, ok := l.nothing[path]; ok && stamp.Equal(written(path)) || written(path).IsZero() {
		return nil, nil
	}
	found, err := openLeftover(ctx, path)
	switch {
	case errors.Is(err, capture.ErrCorrupt):
		l.m.log.Error("file of an ended term can't be read; messages only it held are lost", "file", path, "error", err)
	case err != nil || found != nil:
		return found, err
	}
	l.nothing[path] = written(path)
	return nil, nil
}

// written is when a session file was last written, zero if it isn't there.
func written(path string) (last time.Time) {
	for _, name := range []string{path, path + "-wal"} {
		if info, err := os.Stat(name); err == nil && info.ModTime().After(last) {
			last = info.ModTime()
		}
	}
	return last
}

// fenced sets aside the file of a session that isn't open here and that somebody
// else has taken since: what a process that died left behind.
func (l *leftovers) fenced(ctx context.Context, s *session) error {
	path, ok, err := s.files.adopted()
	if err != nil || !ok {
		return err
	}
	found, err := l.find(ctx, path)
	if err != nil || found == nil {
		return err
	}
	state, err := found.file.State(ctx)
	if err := errors.Join(err, found.file.Close()); err != nil {
		return err
	}
	owner, err := l.m.opt.Store.Owner(ctx, s.id)
	if err != nil {
		return fmt.Errorf("read owner of session: %w", err)
	}
	if owner.Epoch <= state.Epoch || owner.ConnectorID == l.m.opt.Lease.ConnectorID() || owner.Backup == cloudstore.BackupOff {
		return nil // it may be opened again, and delivers then
	}
	s.log.Warn("session file set aside: another connector has taken the session", "epoch", state.Epoch, "now", owner.Epoch)
	if err := s.files.setAside(); err != nil {
		return err
	}
	l.m.sayOnlyHere(ctx, s, path)
	return nil
}
