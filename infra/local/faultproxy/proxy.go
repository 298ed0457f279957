// Package faultproxy stands between a client and a server on this machine and
// breaks the link between them on demand: cuts, silence, slowness, lost answers.
// StartMySQL understands enough of the database's protocol to break it at one
// statement; HTTP is the like for requests.
package faultproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Proxy carries TCP connections to one target.
type Proxy struct {
	target string
	listen *net.TCPListener
	hook   func(Statement) Verdict // nil: not MySQL, or nobody asks
	mysql  bool
	wg     sync.WaitGroup

	mu       sync.Mutex
	next     *state // for new connections
	links    map[*link]bool
	accepted int
	counted  int // statements
	lost     int // bytes
	closed   bool
}

// Start listens on a free port of the loopback interface and carries what comes
// to target (host:port). The link works until Set is called.
func Start(target string) (*Proxy, error) { return start(&Proxy{target: target}) }

func start(p *Proxy) (*Proxy, error) {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, fmt.Errorf("start fault proxy: %w", err)
	}
	p.listen, p.next, p.links = l, newState(Fault{}), map[*link]bool{}
	p.wg.Go(p.accept)
	return p, nil
}

// Addr is where clients connect to (host:port).
func (p *Proxy) Addr() string { return p.listen.Addr().String() }

// Set changes the fault of all connections, those there are and new ones.
func (p *Proxy) Set(f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = newState(f)
	for l := range p.links {
		l.set(p.next)
	}
}

// SetNew changes the fault of connections to come and leaves the others alone.
func (p *Proxy) SetNew(f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = newState(f)
}

// Reset cuts the connections there are; new ones work as before.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		if !l.apart {
			l.cut()
		}
	}
}

// Accepted is how many connections clients have made so far.
func (p *Proxy) Accepted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted
}

// Open is how many connections are being carried.
func (p *Proxy) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

// Swallowed is how many bytes were lost without a word.
func (p *Proxy) Swallowed() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost
}

// Close resets all connections and returns once nothing of the proxy runs any
// more; a hook that is under way is waited for.
func (p *Proxy) Close() error {
	p.mu.Lock()
	p.closed = true
	err := p.listen.Close()
	for l := range p.links {
		l.cut()
	}
	p.mu.Unlock()
	p.wg.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (p *Proxy) accept() {
	for {
		client, err := p.listen.AcceptTCP()
		if err != nil {
			return
		}
		if l := p.admit(client); l != nil {
			p.wg.Go(func() { p.serve(l) })
		} else {
			reset(client)
		}
	}
}

// admit enters a new connection, or returns nil if it is to be refused.
func (p *Proxy) admit(client *net.TCPConn) *link {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.next.Cut {
		return nil
	}
	p.accepted++
	l := &link{proxy: p, number: p.accepted, client: client, done: make(chan struct{}), state: p.next, changed: make(chan struct{})}
	p.links[l] = true
	return l
}

// dialTime bounds connecting to the target.
const dialTime = 10 * time.Second

// serve carries one connection until either side ends it.
func (p *Proxy) serve(l *link) {
	defer l.end()
	dialer := net.Dialer{Timeout: dialTime}
	server, err := dialer.DialContext(context.Background(), "tcp", p.target)
	if err != nil || !l.connected(server.(*net.TCPConn)) {
		return
	}
	var answers sync.WaitGroup
	answers.Go(func() { l.cutUnless(l.answers()) })
	if p.mysql {
		l.cutUnless(l.statements())
	} else {
		l.cutUnless(l.carryAll(l.client, l.server, Requests))
	}
	answers.Wait()
}

// reset closes a connection so that its peer sees an error, not an end.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}
