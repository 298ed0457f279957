package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"

	"cloudsession/infra/local/rig"
)

type rigConnector = rig.Connector

// link is a TCP link that can be cut: connections break at once and new ones
// are refused, until it is mended.
type link struct {
	target string
	l      net.Listener
	wg     sync.WaitGroup

	mu    sync.Mutex
	down  bool
	conns map[net.Conn]bool
}

// protects makes a connector lose its protection when TiDB is away, as it does by
// default: messages that come in meanwhile are to be acknowledged.
const protects = "PROTECT_SECONDS=2"

// databaseLink puts a link between a connector and TiDB and returns the
// variables that lead the connector over it.
func (s *scene) databaseLink() (*link, []string) {
	s.t.Helper()
	cfg := world.Stack.StoreConfig()
	l := s.link(net.JoinHostPort(cfg.Host, strconv.Itoa(cfg.Port)))
	return l, []string{"TIDB_HOST=127.0.0.1", fmt.Sprintf("TIDB_PORT=%d", l.l.Addr().(*net.TCPAddr).Port), protects}
}

func (s *scene) link(target string) *link {
	s.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	s.must(err)
	l := &link{target: target, l: listener, conns: map[net.Conn]bool{}}
	l.wg.Go(l.serve)
	s.t.Cleanup(func() {
		if err := listener.Close(); err != nil {
			s.t.Error(err)
		}
		l.cut()
		l.wg.Wait()
	})
	return l
}

func (l *link) serve() {
	for {
		c, err := l.l.Accept()
		if err != nil {
			return // closed
		}
		l.wg.Go(func() { l.carry(c) })
	}
}

func (l *link) carry(a net.Conn) {
	defer func() { _ = a.Close() }()
	if !l.keep(a) {
		return
	}
	b, err := net.Dial("tcp", l.target)
	if err != nil {
		return
	}
	defer func() { _ = b.Close() }()
	if !l.keep(b) {
		return
	}
	var pair sync.WaitGroup
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		pair.Go(func() {
			_, err := io.Copy(way[0], way[1])
			// Either side's end ends both.
			_ = errors.Join(err, a.Close(), b.Close())
		})
	}
	pair.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, a)
	delete(l.conns, b)
}

func (l *link) keep(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return false
	}
	l.conns[c] = true
	return true
}

func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = true
	for c := range l.conns {
		_ = c.Close()
	}
}

func (l *link) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = false
}
