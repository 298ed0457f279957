package cloudstore_test

import (
	"bytes"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"cloudsession/shared/cloudstore"
)

// proxy stands between a store and the engine and loses answers on demand.
type proxy struct {
	config cloudstore.Config // to reach the engine through it
	target string
	listen net.Listener
	watch  func(message []byte) // sees what clients send, if set before use
	wg     sync.WaitGroup

	mu         sync.Mutex
	statement  []byte // cut at a message that holds this
	afterwards bool   // let the engine carry it out first
	count      int

	downWithCut bool
	then        func() // runs once the answer to be lost is there
	isDown      bool
	conns       map[net.Conn]bool
}

func newProxy(t *testing.T, c cloudstore.Config) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{config: c, target: net.JoinHostPort(c.Host, strconv.Itoa(c.Port)), listen: l, conns: map[net.Conn]bool{}}
	p.config.Port = l.Addr().(*net.TCPAddr).Port
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		closeQuietly(l)
		p.down()
		p.wg.Wait()
	})
	return p
}

// cut loses one answer: that of the next message that holds statement. With
// afterwards the engine gets the message, without it doesn't.
func (p *proxy) cut(statement string, afterwards bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.statement, p.afterwards = []byte(statement), afterwards
}

// afterCut has f run between the cut and the client's noticing.
func (p *proxy) afterCut(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.then = f
}

// thenDown has the engine go away with a cut of an answer.
func (p *proxy) thenDown() { p.afterCut(p.down) }

// downAtCut has the engine go away with a cut of a message.
func (p *proxy) downAtCut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.downWithCut = true
}

func (p *proxy) cuts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

// down breaks all connections and refuses new ones.
func (p *proxy) down() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.isDown = true
	for c := range p.conns {
		closeQuietly(c)
	}
	clear(p.conns)
}

func (p *proxy) up() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.isDown = false
}

func (p *proxy) accept() {
	for {
		client, err := p.listen.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil || !p.keep(client, server) {
			closeQuietly(client)
			if server != nil {
				closeQuietly(server)
			}
			continue
		}
		var swallow atomic.Bool // what the engine says from now on is lost
		answered := make(chan struct{})
		p.wg.Go(func() { p.requests(client, server, &swallow, answered) })
		p.wg.Go(func() { p.answers(client, server, &swallow, answered) })
	}
}

func (p *proxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		p.conns[c] = true
	}
	return !p.isDown
}

// requests passes messages on to the engine until one is to be cut.
func (p *proxy) requests(client, server net.Conn, swallow *atomic.Bool, answered <-chan struct{}) {
	defer closeQuietly(server)
	defer closeQuietly(client)
	buf := make([]byte, 1<<20)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		if p.watch != nil {
			p.watch(buf[:n])
		}
		cut, afterwards := p.toCut(buf[:n])
		if cut && !afterwards {
			return
		}
		swallow.Store(cut)
		if _, err := server.Write(buf[:n]); err != nil {
			return
		}
		if cut {
			<-answered
			return
		}
	}
}

func (p *proxy) toCut(message []byte) (cut, afterwards bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.statement) == 0 || !bytes.Contains(message, p.statement) {
		return false, false
	}
	p.statement = nil
	p.count++
	p.isDown = p.isDown || p.downWithCut
	p.downWithCut = false
	return true, p.afterwards
}

// answers passes the engine's on to the client, or loses the first it is told to.
func (p *proxy) answers(client, server net.Conn, swallow *atomic.Bool, answered chan<- struct{}) {
	defer close(answered)
	defer closeQuietly(client)
	buf := make([]byte, 1<<16)
	for {
		n, err := server.Read(buf)
		if err == nil && swallow.Load() {
			p.runThen()
			return
		}
		if err != nil {
			return
		}
		if _, err = client.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (p *proxy) runThen() {
	p.mu.Lock()
	then := p.then
	p.then = nil
	p.mu.Unlock()
	if then != nil {
		then()
	}
}

// closeQuietly closes what the other side may have closed already.
func closeQuietly(c io.Closer) { _ = c.Close() }
