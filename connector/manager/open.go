package manager

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"cloudsession/connector/capture"
	"cloudsession/connector/logctx"
	"cloudsession/connector/ownership"
	"cloudsession/connector/replicate"
	"cloudsession/connector/whatsapp"
	"cloudsession/shared/cloudstore"
)

// openRequest says why a session is taken and what may be made of it.
type openRequest struct {
	reason string
	// create: a new identity may be made, because a person asked to pair. Without
	// it a session that isn't in the cloud is ErrNoSession.
	create bool
	// byCommand: a person asked for it by name.
	byCommand bool
	// anyWanted: also a session that is to stay closed.
	anyWanted bool
	// keepWanted: whoever asks, it is not to be open afterwards.
	keepWanted bool
	// staged is a session file from elsewhere that the term begins with.
	staged *staged
	// at is the point of the log to go back to; nil for its end.
	at *replicate.Point
	// again: the session is open here and gets its first backup after a DELETE.
	again bool
}

// Open opens a session that exists: from this machine's file if that is known
// to be the newest state, else from the cloud. Opening one that is open here
// does nothing. It returns ErrNoSession, ErrElsewhere, ErrFull, ErrDraining or
// ErrClosing.
func (m *Manager) Open(ctx context.Context, id, reason string) (*session, error) {
	s, err := m.entry(id)
	if err != nil {
		return nil, err
	}
	if o := s.current(); o != nil && !o.leaving {
		return s, nil
	}
	leave, err := m.placeFor(s)
	if err != nil {
		return nil, err
	}
	defer leave()
	return m.openPlaced(ctx, id, reason)
}

// openPlaced is Open for a session that has its place.
func (m *Manager) openPlaced(ctx context.Context, id, reason string) (*session, error) {
	s, err := m.entry(id)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if reason != reasonSweep {
		if err := m.endRest(ctx, s); err != nil {
			return nil, err
		}
	}
	if s.current() != nil {
		return s, nil
	}
	err = m.openLocked(ctx, s, openRequest{reason: reason, byCommand: reason != reasonSweep})
	if err != nil {
		s.failed(time.Now())
		return nil, err
	}
	s.succeeded()
	return s, nil
}

// reasonSweep marks an opening nobody asked for by name.
const reasonSweep = "sweep"

// openLocked takes the session, builds its file and connects it (O5: in this
// order). When it fails the session is free again, and nothing of it is half
// adopted.
func (m *Manager) openLocked(ctx context.Context, s *session, r openRequest) error {
	o, err := m.acquire(ctx, s, r)
	if err != nil {
		return err
	}
	if o.rest {
		return m.openRest(ctx, s, o)
	}
	s.setFailover(o.taken.Parent.Owner.Failover)
	s.setState(whatsapp.StateConnecting, "") // not what an earlier term ended with
	m.deliver(s, o)
	if err := m.admit(ctx, s, o); err != nil {
		return err
	}
	o.rep.Changed() // what was written before the line above woke nobody
	m.watch(s, o)
	if !o.fresh.Load() {
		m.connect(ctx, s, o)
	}
	return nil
}

// connect starts the session's socket. whatsapp goes on trying by itself when
// the service can't be reached; how that goes is told by its states. ctx says
// on whose behalf; it may end before.
func (m *Manager) connect(ctx context.Context, s *session, o *opened) {
	ctx = logctx.Onto(m.life, ctx)
	err := o.wa.Start(ctx, o.safe) // here: whoever has opened it may send at once
	m.later(func() {
		if err == nil {
			err = o.wa.Wait(ctx)
		}
		if err != nil && m.life.Err() == nil && !errors.Is(err, whatsapp.ErrStopped) {
			s.log.WarnContext(ctx, "session not connected", "error", err)
		}
	})
}

// acquire takes the session and makes its file ready, without a socket.
func (m *Manager) acquire(ctx context.Context, s *session, r openRequest) (_ *opened, err error) {
	began := time.Now()
	if err := errors.Join(s.files.create(), s.files.probe()); err != nil {
		return nil, err
	}
	prior, err := m.readPrior(ctx, s)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, prior.close()) }()
	prior.staged, prior.at = r.staged, r.at
	taken, err := m.take(ctx, s, prior, r)
	if err != nil {
		return nil, err
	}
	m.opt.Observer.Taken(taken.Start)
	s.log.InfoContext(ctx, "session taken", "epoch", taken.Epoch, "start", taken.Start, "reason", r.reason)
	o, err := m.build(ctx, s, prior, taken)
	if err == nil {
		if err = o.rep.ForgetParent(ctx); err != nil {
			err = errors.Join(err, o.shut()) // the file stays: it is adopted
		}
	}
	if err != nil {
		m.giveBack(ctx, s, taken, prior.startsHere(taken), err)
		return nil, err
	}
	m.saySuperseded(ctx, s, prior, taken)
	// Who asks for it by name wants it open, whatever it was.
	o.rest = taken.Parent.Owner.Wanted == cloudstore.WantedRest && !r.byCommand && !r.create
	if o.fromCloud {
		m.opt.Observer.Loaded(taken.Start, time.Since(began))
	}
	return o, nil
}

// prior is what this machine knows of a session before taking it.
type prior struct {
	file  *capture.File // nil when there is none
	state capture.State
	boot  string
	inode uint64
	high  ownership.HighWater
	// tainted: the file's Signal state is stale, for a clone has moved on.
	tainted bool
	// parent is the owner row as the take found it.
	parent cloudstore.Owner
	// local: the term starts safely from the file, not from the log: there is
	// nothing newer, or nothing else.
	local bool
	// staged is what the term begins with instead of what is known here.
	staged *staged
	// at is the older point of the log that it begins with.
	at *replicate.Point
}

// startsHere reports whether a term goes on with the file of this machine.
func (p *prior) startsHere(taken cloudstore.Taken) bool {
	return taken.Start == replicate.StartOwnFile || p.local
}

// close closes the file unless it was handed on.
func (p *prior) close() error {
	if p.file == nil {
		return nil
	}
	return p.file.Close()
}

func (m *Manager) readPrior(ctx context.Context, s *session) (*prior, error) {
	p := &prior{}
	var err error
	if p.high, err = ownership.LoadHighWater(s.files.highWaterPath()); errors.Is(err, ownership.ErrDamagedMark) {
		s.log.WarnContext(ctx, "the start will be safe", "error", err)
		p.high = ownership.Unknown
	} else if err != nil {
		return nil, err
	}
	if p.boot, err = capture.BootID(); err != nil {
		return nil, err
	}
	path, ok, err := s.files.adopted()
	if errors.Is(err, errDamaged) {
		s.log.WarnContext(ctx, "local session file set aside", "error", err)
		return p, s.files.setAside()
	}
	if err != nil || !ok {
		return p, err
	}
	err = m.readPriorFile(ctx, s, p, path)
	if errors.Is(err, capture.ErrCorrupt) || errors.Is(err, errNoDevice) {
		// Only what is known to be of no use: a read that failed for another
		// reason says nothing about the file, which may be the newest state.
		s.log.WarnContext(ctx, "local session file set aside", "error", err)
		err = errors.Join(p.close(), s.files.setAside())
		p.file, p.state = nil, capture.State{}
		return p, err
	}
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

// errNoDevice: the file was made by a pairing that never came to a link.
var errNoDevice = errors.New("session file holds no device")

// hasDevice reports whether a session file was ever linked to a phone.
func hasDevice(ctx context.Context, f *capture.File) (bool, error) {
	var tables int
	const table = `SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = 'whatsmeow_device'`
	if err := f.DB().QueryRowContext(ctx, table).Scan(&tables); err != nil || tables == 0 {
		return false, err
	}
	var devices int
	err := f.DB().QueryRowContext(ctx, `SELECT COUNT(*) FROM whatsmeow_device`).Scan(&devices)
	return devices > 0, err
}

func (m *Manager) readPriorFile(ctx context.Context, s *session, p *prior, path string) (err error) {
	if p.inode, err = capture.Inode(path); err != nil {
		return err
	}
	if p.file, err = capture.Open(ctx, path, capture.Options{OnCommit: s.changed}); err != nil {
		return err
	}
	if err := p.file.Check(ctx); err != nil {
		return err
	}
	linked, err := hasDevice(ctx, p.file)
	if err != nil {
		return fmt.Errorf("read session file: %w", err)
	}
	if !linked {
		return errNoDevice
	}
	if p.tainted, err = s.files.tainted(); err != nil {
		return err
	}
	p.state, err = p.file.State(ctx)
	return err
}

// changed tells the session's replication that its file was written.
func (s *session) changed() {
	if o := s.current(); o != nil {
		o.rep.Changed()
	}
}

// take commits a new epoch (O4). How the term starts is judged inside.
func (m *Manager) take(ctx context.Context, s *session, p *prior, r openRequest) (cloudstore.Taken, error) {
	req := cloudstore.TakeRequest{
		SessionID: s.id, ConnectorID: m.opt.Lease.ConnectorID(), Incarnation: m.opt.Lease.Incarnation(),
		Reason: r.reason, MayCreate: r.create, WithoutParent: r.create && !r.staged.replaces() || r.again,
		AnyWanted: r.byCommand || r.create || r.again || r.anyWanted, ByCommand: r.byCommand || r.create, KeepWanted: r.keepWanted,
		Judge: func(_ context.Context, parent cloudstore.Parent) (string, error) {
			p.parent = parent.Owner
			return m.judge(p, parent, r)
		},
	}
	if _, err := rand.Read(req.Nonce[:]); err != nil {
		return cloudstore.Taken{}, fmt.Errorf("make nonce: %w", err)
	}
	taken, err := m.opt.Store.Take(ctx, req)
	switch {
	case errors.Is(err, cloudstore.ErrNotFound):
		return taken, ErrNoSession
	case errors.Is(err, cloudstore.ErrNotYet):
		return taken, fmt.Errorf("%w: %w", errBanned, err)
	case errors.Is(err, cloudstore.ErrNotTakeable):
		return taken, fmt.Errorf("%w: %w", ErrElsewhere, err)
	case errors.Is(err, errLogDamaged):
		m.noteDamage(ctx, s, p.parent, err)
		return taken, fmt.Errorf("take session: %w", err)
	case err != nil:
		return taken, fmt.Errorf("take session: %w", err)
	}
	if replicate.Behind(taken.Parent, replicate.HighWater(p.high)) {
		s.log.ErrorContext(ctx, "this machine has seen more of the session's log than the database holds; the session starts safely. "+
			"Was the database restored from a backup? Then run: connector database-restored")
	}
	return taken, nil
}

func (m *Manager) newOpened(taken cloudstore.Taken) *opened {
	return &opened{taken: taken, gone: make(chan struct{}), protection: protection{limit: m.opt.ProtectTime}}
}

// shut releases what an opened session holds, pushing nothing.
func (o *opened) shut() error {
	var errs []error
	if o.wa != nil {
		ctx, cancel := context.WithTimeout(context.Background(), stopTime)
		errs = append(errs, o.wa.Stop(ctx))
		cancel()
	}
	o.stopDelivery()
	if o.rep != nil {
		o.rep.Close()
	}
	if o.file != nil {
		errs = append(errs, o.file.Close())
	}
	return errors.Join(errs...)
}
