package chaos

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"cloudsession/connector/control"
	"cloudsession/infra/local/faultproxy"
	"cloudsession/infra/local/rig"
	"cloudsession/infra/local/stack"
)

// machine is a computer with one connector on it: a disk, three links, and an
// init system that starts the process again when it ends by itself.
type machine struct {
	h      *Harness
	id     string
	dir    string // the disk
	via    string // where its connector reaches the simulated service, to be told from the others
	links  map[string]*faultproxy.Proxy
	ends   *commitLoser
	clock  clock
	env    []string
	log    *os.File
	client *control.Client

	op sync.Mutex // held by whoever starts and ends the process

	mu       sync.Mutex
	proc     *stack.Connector // nil while the machine is down
	up       bool             // the init system keeps it running
	frozen   bool
	sessions map[string]control.Session // as last seen
	askedAt  time.Time                  // what sessions shows is from after this, and before seenAt
	seenAt   time.Time
	periods  []period    // without protection
	losses   []time.Time // of the disk
}

func (h *Harness) newMachine(i int) (*machine, error) {
	id := string(rune('a' + i))
	m := &machine{
		h: h, id: id, dir: filepath.Join(h.dir, "disks", id),
		links: map[string]*faultproxy.Proxy{}, ends: &commitLoser{}, sessions: map[string]control.Session{},
	}
	m.client = control.NewClient(m.dir)
	listener, err := h.rig.WhatsApp.Listen("127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	m.via = listener.String()
	if err := m.connectLinks(); err != nil {
		return nil, err
	}
	m.env = append(h.rig.WhatsAppEnv(m.links[linkWhatsApp].Addr()),
		"TIDB_HOST=127.0.0.1", "TIDB_PORT="+port(m.links[linkTiDB].Addr()),
		"AWS_ENDPOINT_URL_SQS=http://"+m.links[linkSQS].Addr(),
		"STOP_SECONDS=120",  // a busy machine is no fault
		"GORACE=exitcode=0", // races are looked for in the logs
	)
	m.env = append(m.env, h.app.env()...)
	if h.opt.Clocks {
		m.clock = clock{filepath.Join(h.dir, "disks", id+".clock")}
		m.env = append(m.env, clockVariable+"="+m.clock.path)
		if err := m.clock.set(0); err != nil {
			return nil, err
		}
	}
	path := filepath.Join(h.dir, "logs", "connector-"+id+".log")
	if m.log, err = os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return m, nil
}

func (m *machine) connectLinks() (err error) {
	store := m.h.rig.Stack.StoreConfig()
	tidb := net.JoinHostPort(store.Host, strconv.Itoa(store.Port))
	if m.links[linkTiDB], err = faultproxy.StartMySQL(tidb, m.ends.judge); err != nil {
		return err
	}
	if m.links[linkWhatsApp], err = faultproxy.Start(m.via); err != nil {
		return err
	}
	m.links[linkSQS], err = faultproxy.Start(strings.TrimPrefix(m.h.rig.Stack.SQSEndpoint(), "http://"))
	return err
}

func port(addr string) string {
	_, p, err := net.SplitHostPort(addr)
	if err != nil {
		panic("chaos: listener without a port: " + addr)
	}
	return p
}

// start launches the process; the init system keeps it running from here on.
// m.op is held.
func (m *machine) start() error {
	p, err := m.h.rig.Stack.LaunchConnector(stack.ConnectorOptions{
		ID: m.id, DataDir: m.dir, Out: &sayings{m: m}, Env: m.env, Binary: m.h.opt.Connector,
	})
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.proc, m.up, m.frozen = p, true, false
	m.mu.Unlock()
	m.h.count.starts.Add(1)
	m.h.work.Go(func() { m.keep(p) })
	return nil
}

// restartPause is how long the init system waits, as systemd's RestartSec does.
const restartPause = 500 * time.Millisecond

// keep starts the process again if it ends without having been told to.
func (m *machine) keep(p *stack.Connector) {
	select {
	case <-p.Done():
	case <-m.h.ctx.Done():
		return
	}
	m.mu.Lock()
	unasked := m.up && m.proc == p
	m.mu.Unlock()
	if !unasked {
		return
	}
	m.h.note("machine %s: the process ended by itself", m.id)
	m.h.count.exits.Add(1)
	select {
	case <-time.After(restartPause):
	case <-m.h.ctx.Done():
		return
	}
	m.op.Lock()
	defer m.op.Unlock()
	m.mu.Lock()
	still := m.up && m.proc == p
	m.mu.Unlock()
	if !still {
		return
	}
	if err := m.start(); err != nil {
		m.h.fail(fmt.Errorf("start connector %s again: %w", m.id, err))
	}
}

// down tells the init system to leave the process alone, and returns it.
func (m *machine) down() *stack.Connector {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.proc
	m.proc, m.up, m.frozen = nil, false, false
	m.sessions = map[string]control.Session{}
	return p
}

// kill is kill -9; the machine stays down. m.op is held.
func (m *machine) kill() error {
	p := m.down()
	if p == nil {
		return nil
	}
	if err := p.Kill9(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// stopTime is how long a connector may take to end after SIGTERM.
const stopTime = rig.StopTime

// stop is SIGTERM; the machine stays down. A connector that does not end in
// time is a violation. m.op is held.
func (m *machine) stop() error {
	p := m.down()
	if p == nil {
		return nil
	}
	if err := p.Stop(stopTime); err != nil {
		m.h.note("machine %s: after SIGTERM: %v", m.id, err)
		if strings.Contains(err.Error(), "was killed") {
			return m.h.violation("I7", "", "connector %s did not end within %v after SIGTERM", m.id, stopTime)
		}
	}
	return nil
}

func (m *machine) freeze(on bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.proc == nil || m.frozen == on {
		return nil
	}
	m.frozen = on
	do := m.proc.Thaw
	if on {
		do = m.proc.Freeze
	}
	if err := do(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// copyDisk copies what is on the disk now; files may change or go meanwhile, as
// with a copy made by hand of a running system.
func (m *machine) copyDisk(to string) error {
	return filepath.WalkDir(m.dir, func(path string, d os.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read disk: %w", err)
		}
		rel, err := filepath.Rel(m.dir, path)
		if err != nil {
			return fmt.Errorf("read disk: %w", err)
		}
		target := filepath.Join(to, rel)
		switch {
		case d.IsDir():
			err = os.MkdirAll(target, 0o700)
		case d.Type().IsRegular():
			err = copyFile(path, target, 0o600)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("copy disk: %w", err)
		}
		return nil
	})
}

func copyFile(from, to string, mode os.FileMode) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, mode) //nolint:gosec // G703: below our own folder
}

// putBack replaces the disk by a copy. The old files go only when the copies are
// there, so that no copy gets the number of the file it replaces.
func (m *machine) putBack(snapshot string) error {
	aside := m.dir + ".aside"
	if err := os.Rename(m.dir, aside); err != nil {
		return fmt.Errorf("set disk aside: %w", err)
	}
	if err := os.Rename(snapshot, m.dir); err != nil {
		return fmt.Errorf("put old disk back: %w", err)
	}
	if err := os.RemoveAll(aside); err != nil {
		return fmt.Errorf("remove newer disk: %w", err)
	}
	return nil
}

func (m *machine) erase() error {
	if err := os.RemoveAll(m.dir); err != nil {
		return fmt.Errorf("erase disk: %w", err)
	}
	return nil
}

// look asks the connector again and again which sessions it has.
func (m *machine) look(ctx context.Context) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		m.lookOnce(ctx)
	}
}

func (m *machine) lookOnce(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	asked := time.Now()
	list, err := m.client.Sessions(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.seenAt = time.Time{}
		if ctx.Err() == nil { // there is no connector; one that does not answer keeps what it had
			m.sessions = map[string]control.Session{}
		}
		return
	}
	m.sessions, m.askedAt, m.seenAt = make(map[string]control.Session, len(list)), asked, time.Now()
	for _, s := range list {
		m.sessions[s.SessionID] = s
	}
}

// session is what the connector last said of a session.
func (m *machine) session(id string) (control.Session, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.sessions[id]
	return s, ok
}

// answers reports whether the connector has answered a moment ago.
func (m *machine) answers() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.proc != nil && time.Since(m.seenAt) < 5*time.Second
}

// mend ends all faults of the links.
func (m *machine) mend() {
	m.ends.stop()
	for _, l := range m.links {
		l.Set(faultproxy.Fault{})
	}
}

func (m *machine) close() error {
	errs := []error{m.log.Close()}
	for _, l := range m.links {
		if l != nil {
			errs = append(errs, l.Close())
		}
	}
	return errors.Join(errs...)
}
