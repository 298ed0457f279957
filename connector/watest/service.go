package watest

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/util/keys"
)

// ErrClosed is returned by a service that has been closed.
var ErrClosed = errors.New("simulated service is closed")

// Service is a simulated WhatsApp service. Its zero value is ready for use.
// All methods may be called from several goroutines at once.
type Service struct {
	start    sync.Once
	startErr error
	static   *keys.KeyPair // the service's Noise key
	cert     []byte        // its certificate chain
	server   *http.Server
	memory   *memoryListener
	work     sync.WaitGroup // every goroutine this service started
	faults   Faults

	mu       sync.Mutex
	closed   bool
	stop     chan struct{} // closed by Close
	changed  chan struct{} // closed and replaced at each change a waiter may look for
	accounts map[string]*account
	groups   map[types.JID]*group
	conns    map[*conn]struct{}
	refs     map[string]*conn // pairing references, as in QR codes, to the socket that shows them
	links    map[string]*link // pairing by code: phone number user to the pending request
	watch    keyWatch
	ledger   ledger
	counts   Counters
	// admissions are never forgotten, oldest first.
	admissions []*Admission
	ids        uint64
}

// init prepares what every entry point needs.
func (s *Service) init() error {
	s.start.Do(func() {
		s.static = keys.NewKeyPair()
		s.cert, s.startErr = certChain(s.static.Pub, time.Now())
		s.stop, s.changed = make(chan struct{}), make(chan struct{})
		s.accounts = make(map[string]*account)
		s.groups = make(map[types.JID]*group)
		s.conns = make(map[*conn]struct{})
		s.refs = make(map[string]*conn)
		s.links = make(map[string]*link)
		s.faults.service = s
		s.server = &http.Server{Handler: http.HandlerFunc(s.serveSocket), ReadHeaderTimeout: 10 * time.Second}
		s.memory = newMemoryListener()
		s.serve(s.memory)
	})
	return s.startErr
}

func (s *Service) serve(l net.Listener) {
	s.work.Go(func() {
		// Serve always ends with an error: the listener's, once it is closed.
		_ = s.server.Serve(l)
	})
}

// Listen also serves TCP at addr, for clients in other processes: a loopback
// host and a port, "127.0.0.1:0" for any free one. It returns the address
// chosen. The stream is WebSocket without TLS; see [HTTPClientFor].
func (s *Service) Listen(addr string) (net.Addr, error) {
	if err := s.init(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return nil, ErrClosed
	}
	l, err := net.Listen("tcp", addr) //nolint:noctx // listening on a loopback address does not block
	if err != nil {
		return nil, fmt.Errorf("listen for simulated service: %w", err)
	}
	if tcp, ok := l.Addr().(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		return nil, errors.Join(fmt.Errorf("listen on %s: not a loopback address", addr), l.Close())
	}
	s.serve(l)
	return l.Addr(), nil
}

// RootKey is the key to set as whatsmeow.WACertPubKey: [TestRootKey].
func (s *Service) RootKey() [32]byte { return TestRootKey }

// Faults gives the hooks that make this service misbehave.
func (s *Service) Faults() *Faults {
	// A failure to start shows in Listen, NewPhone and every connection.
	_ = s.init()
	return &s.faults
}

// Close cuts every socket, stops every phone and waits for all goroutines of
// the service.
func (s *Service) Close() error {
	if err := s.init(); err != nil {
		return err
	}
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.stop)
	}
	conns := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.notifyLocked()
	s.mu.Unlock()
	err := s.server.Close()
	for _, c := range conns {
		c.cut()
	}
	s.work.Wait()
	return err
}

// notifyLocked wakes everybody who waits for a change. s.mu is held.
func (s *Service) notifyLocked() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// nextIDLocked makes an id for a stanza of the service's own.
func (s *Service) nextIDLocked() string {
	s.ids++
	return fmt.Sprintf("svc-%d", s.ids)
}
