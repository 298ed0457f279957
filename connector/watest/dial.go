package watest

import (
	"context"
	"net"
	"net/http"
	"sync"

	"go.mau.fi/whatsmeow"
)

// HTTPClient returns a client whose every connection, whatever the URL says,
// goes to this service without touching the network.
func (s *Service) HTTPClient() *http.Client {
	// A failure to start shows as a refused connection.
	_ = s.init()
	return clientDialing(func(ctx context.Context, _, _ string) (net.Conn, error) {
		return s.memory.dial(ctx)
	})
}

// HTTPClientFor returns a client whose every connection, whatever the URL
// says, goes to addr over plain TCP: the TLS of wss and https URLs is left
// out, as the Noise handshake inside authenticates the service.
func HTTPClientFor(addr string) *http.Client {
	return clientDialing(func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", addr)
	})
}

func clientDialing(dial func(context.Context, string, string) (net.Conn, error)) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: dial, DialTLSContext: dial, DisableKeepAlives: true,
	}}
}

// Configure makes an unmodified client talk to the service at addr: it sets
// the three HTTP clients whatsmeow uses (before login, for the websocket after
// it, for media). Besides this a process sets whatsmeow.WACertPubKey to
// [TestRootKey], once, before its first connection.
func Configure(client *whatsmeow.Client, addr string) {
	ConfigureHTTP(client, HTTPClientFor(addr))
}

// ConfigureHTTP is [Configure] for a client from [Service.HTTPClient].
func ConfigureHTTP(client *whatsmeow.Client, h *http.Client) {
	client.SetPreLoginHTTPClient(h)
	client.SetWebsocketHTTPClient(h)
	client.SetMediaHTTPClient(h)
}

// memoryListener is a net.Listener whose connections are net.Pipes.
type memoryListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newMemoryListener() *memoryListener {
	return &memoryListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *memoryListener) dial(ctx context.Context) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept implements net.Listener.
func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *memoryListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *memoryListener) Addr() net.Addr { return memoryAddr{} }

type memoryAddr struct{}

// Network implements net.Addr.
func (memoryAddr) Network() string { return "memory" }

// String implements net.Addr.
func (memoryAddr) String() string { return "watest" }
