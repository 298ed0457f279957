package watest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/socket"
)

// How long a socket stays open after the last stanza of a stream (515, failure,
// device_removed, replaced), unless the client closes it. A client that is cut
// off before it is scheduled loses the stanza: its reader and its handler are
// different goroutines.
const (
	linger      = 30 * time.Second
	lingerBrief = 3 * time.Second // where whatsmeow waits for the end: it does the same without the stanza
)

// conn is one client socket.
type conn struct {
	service *Service
	ws      *websocket.Conn
	remote  string
	local   string        // the address the client reached
	done    chan struct{} // closed when the reader has ended
	buffer  []byte        // bytes read and not yet taken as frames
	in, out *direction
	static  [32]byte // the client's Noise key

	gone atomic.Bool // cut; the reader may not have noticed yet

	outMu   sync.Mutex
	outbox  []outgoing
	wake    chan struct{} // capacity 1: the outbox has something
	stopped bool          // nothing more is written

	// Guarded by the service's mutex.
	device  *device // after login
	active  bool    // after passive/active: stanzas are delivered
	pairing *pairing
	replies map[string]chan *waBinary.Node // answers awaited from the client, by iq id
	asked   map[stanzaKey]int              // messages that a retry receipt took out of the queue, and whose ack is to come
	// admission is nil before login.
	admission *Admission
}

// outgoing is a stanza to write; last closes the socket after it.
type outgoing struct {
	node waBinary.Node
	last bool
}

// serveSocket is the HTTP handler: one call is one socket's life.
func (s *Service) serveSocket(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		http.Error(w, "closed", http.StatusServiceUnavailable)
		return
	}
	s.work.Add(1)
	s.mu.Unlock()
	defer s.work.Done()
	s.faults.admit(r.Context())
	// Clients send Origin https://web.whatsapp.com, whatever they dialled.
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return // Accept has answered
	}
	ws.SetReadLimit(socket.FrameMaxSize + 16)
	c := &conn{
		service: s, ws: ws, remote: r.RemoteAddr, local: localAddr(r), done: make(chan struct{}),
		wake: make(chan struct{}, 1), replies: make(map[string]chan *waBinary.Node),
	}
	if !s.track(c) {
		c.cut()
		return
	}
	defer s.forget(c)
	c.run(context.WithoutCancel(r.Context()))
}

// localAddr is the address the client reached the service at.
func localAddr(r *http.Request) string {
	if addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		return addr.String()
	}
	return ""
}

// track registers a socket, so that Close finds it.
func (s *Service) track(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.conns[c] = struct{}{}
	s.counts.Sockets++
	return true
}

// run reads until the socket ends. Whatever ends it, it ends like a cut wire.
func (c *conn) run(ctx context.Context) {
	defer close(c.done)
	defer c.cut()
	hello, err := c.handshake(ctx)
	if err != nil {
		return
	}
	c.static, c.in, c.out = hello.static, hello.fromClient, hello.toClient
	c.service.work.Go(func() { c.writeLoop(ctx) })
	c.service.greet(c, hello.payload)
	for {
		node, err := c.readNode(ctx)
		if err != nil {
			return
		}
		c.service.receive(c, node)
	}
}

func (c *conn) handshake(ctx context.Context) (*handshakeResult, error) {
	prologue, err := c.readPrologue(ctx)
	if err != nil {
		return nil, err
	}
	read := func() ([]byte, error) { return c.readFrame(ctx) }
	write := func(frame []byte) error { return c.writeFrame(ctx, frame) }
	return respond(c.service.static, c.service.cert, prologue, read, write)
}

// readPrologue takes the connection header, past the routing information some
// clients put before it (ED 00 01, 24-bit length, bytes).
func (c *conn) readPrologue(ctx context.Context) ([]byte, error) {
	const headerSize = 4
	header, err := c.take(ctx, headerSize)
	if err != nil {
		return nil, err
	}
	if header[0] == 0xED && header[1] == 0 && header[2] == 1 {
		rest, err := c.take(ctx, 2)
		if err != nil {
			return nil, err
		}
		if _, err := c.take(ctx, int(header[3])<<16|int(rest[0])<<8|int(rest[1])); err != nil {
			return nil, err
		}
		if header, err = c.take(ctx, headerSize); err != nil {
			return nil, err
		}
	}
	if header[0] != 'W' || header[1] != 'A' {
		return nil, errors.New("unknown connection header")
	}
	return header, nil
}

// take returns the next n bytes of the stream, across messages.
func (c *conn) take(ctx context.Context, n int) ([]byte, error) {
	for len(c.buffer) < n {
		_, data, err := c.ws.Read(ctx)
		if err != nil {
			return nil, fmt.Errorf("read socket: %w", err)
		}
		c.buffer = append(c.buffer, data...)
	}
	taken := append([]byte(nil), c.buffer[:n]...)
	c.buffer = c.buffer[n:]
	return taken, nil
}

func (c *conn) readFrame(ctx context.Context) ([]byte, error) {
	size, err := c.take(ctx, socket.FrameLengthSize)
	if err != nil {
		return nil, err
	}
	return c.take(ctx, int(size[0])<<16|int(size[1])<<8|int(size[2]))
}

// writeFrame writes one frame as one message.
func (c *conn) writeFrame(ctx context.Context, data []byte) error {
	frame := make([]byte, 0, socket.FrameLengthSize+len(data))
	frame = append(frame, byte(len(data)>>16), byte(len(data)>>8), byte(len(data)))
	return c.ws.Write(ctx, websocket.MessageBinary, append(frame, data...))
}

func (c *conn) readNode(ctx context.Context) (*waBinary.Node, error) {
	sealed, err := c.readFrame(ctx)
	if err != nil {
		return nil, err
	}
	data, err := c.in.open(sealed)
	if err != nil {
		return nil, err
	}
	if len(data) == 0 {
		return nil, errors.New("empty frame")
	}
	data, err = waBinary.Unpack(data)
	if err != nil {
		return nil, fmt.Errorf("unpack frame: %w", err)
	}
	node, err := waBinary.Unmarshal(data)
	if err != nil {
		return nil, fmt.Errorf("decode stanza: %w", err)
	}
	return node, nil
}

// send puts a stanza into the outbox, through the faults that hold for this
// socket. It never blocks.
func (c *conn) send(node waBinary.Node) {
	c.service.faults.pass(c, ToDevice, node, func() { c.enqueue(outgoing{node: node}) })
}

// sendLast sends a stanza and closes the socket a while after it.
func (c *conn) sendLast(node waBinary.Node) {
	c.enqueue(outgoing{node: node, last: true})
}

func (c *conn) enqueue(o outgoing) {
	c.outMu.Lock()
	if !c.stopped {
		c.outbox = append(c.outbox, o)
		c.stopped = o.last
	}
	c.outMu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *conn) writeLoop(ctx context.Context) {
	defer c.cut()
	for {
		select {
		case <-c.wake:
		case <-c.done:
			return
		}
		for _, o := range c.takeOutbox() {
			data, err := waBinary.Marshal(o.node)
			if err != nil {
				return
			}
			if err := c.writeFrame(ctx, c.out.seal(data)); err != nil {
				return
			}
			if o.last {
				c.linger(o.node)
				return
			}
		}
	}
}

func (c *conn) takeOutbox() []outgoing {
	c.outMu.Lock()
	defer c.outMu.Unlock()
	taken := c.outbox
	c.outbox = nil
	return taken
}

// linger returns when the socket is to be closed, after the last stanza of a stream.
func (c *conn) linger(last waBinary.Node) {
	if c.service.faults.hangsUp() {
		return
	}
	d := linger
	code := last.AttrGetter().OptionalString("code")
	if last.Tag == "failure" {
		code = last.AttrGetter().OptionalString("reason")
	}
	if code == "500" || code == "503" {
		d = lingerBrief
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.done:
	}
}

// cut closes the socket without a word.
func (c *conn) cut() {
	c.gone.Store(true)
	c.outMu.Lock()
	c.stopped = true
	c.outMu.Unlock()
	// A socket that is closed already says so; there is nothing to do about it.
	_ = c.ws.CloseNow()
}
