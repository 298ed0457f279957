package whatsapp

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"go.mau.fi/whatsmeow"
)

// Endpoint says which service sessions talk to. The zero value is the real one.
type Endpoint struct {
	// Addr is the simulated service's address, host:port on the loopback.
	Addr string
	// RootKey is the public key that its Noise certificates are signed by.
	RootKey [32]byte
}

// ErrEndpoint is returned for an endpoint that can't be used.
var ErrEndpoint = errors.New("endpoint of the service is not usable")

// ParseEndpoint makes an Endpoint of the environment's WHATSAPP_TEST_SERVICE (loopback host:port) and
// WHATSAPP_TEST_ROOT (64 hexadecimal digits). Both empty means the real service.
func ParseEndpoint(addr, root string) (Endpoint, error) {
	if addr == "" && root == "" {
		return Endpoint{}, nil
	}
	if addr == "" || root == "" {
		return Endpoint{}, fmt.Errorf("%w: WHATSAPP_TEST_SERVICE and WHATSAPP_TEST_ROOT go together", ErrEndpoint)
	}
	e := Endpoint{Addr: addr}
	key, err := hex.DecodeString(root)
	if err != nil || len(key) != len(e.RootKey) {
		return Endpoint{}, fmt.Errorf("%w: WHATSAPP_TEST_ROOT is not 64 hexadecimal digits", ErrEndpoint)
	}
	copy(e.RootKey[:], key)
	return e, e.check()
}

// IsReal tells whether this is WhatsApp itself.
func (e Endpoint) IsReal() bool { return e == Endpoint{} }

// check refuses a test endpoint that isn't on this machine: sessions' keys would go over the network unprotected.
func (e Endpoint) check() error {
	if e.IsReal() {
		return nil
	}
	addr, err := netip.ParseAddrPort(e.Addr)
	if err != nil {
		host, _, splitErr := net.SplitHostPort(e.Addr)
		if splitErr != nil || host != "localhost" {
			return fmt.Errorf("%w: %q is not a loopback address with a port", ErrEndpoint, e.Addr)
		}
		return nil
	}
	if !addr.Addr().IsLoopback() || addr.Port() == 0 {
		return fmt.Errorf("%w: %q is not a loopback address with a port", ErrEndpoint, e.Addr)
	}
	if e.RootKey == [32]byte{} {
		return fmt.Errorf("%w: no root key", ErrEndpoint)
	}
	return nil
}

// whatsmeow keeps the root key that it trusts in a variable of the whole process. So a process talks either to the
// real service or to simulated ones of one root key, whichever was first.
var trust struct {
	sync.Mutex
	set  bool
	real bool
	root [32]byte
}

func (e Endpoint) trustRoot() error {
	trust.Lock()
	defer trust.Unlock()
	switch {
	case !trust.set:
		trust.set, trust.real, trust.root = true, e.IsReal(), e.RootKey
		if !e.IsReal() {
			whatsmeow.WACertPubKey = e.RootKey
		}
		return nil
	case trust.real != e.IsReal():
		return fmt.Errorf("%w: one process can't talk to the real and to a simulated service", ErrEndpoint)
	case trust.root != e.RootKey:
		return fmt.Errorf("%w: this process trusts another root key already", ErrEndpoint)
	default:
		return nil
	}
}

// All sessions of one endpoint share a client: by default each whatsmeow client would have three transports of its own.
var clients struct {
	sync.Mutex
	byAddr map[string]*http.Client
}

func (e Endpoint) httpClient() *http.Client {
	clients.Lock()
	defer clients.Unlock()
	if c := clients.byAddr[e.Addr]; c != nil {
		return c
	}
	if clients.byAddr == nil {
		clients.byAddr = make(map[string]*http.Client)
	}
	c := &http.Client{Transport: e.transport()}
	clients.byAddr[e.Addr] = c
	return c
}

func (e Endpoint) transport() *http.Transport {
	dialer := &net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dialer.DialContext,
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          32,
		IdleConnTimeout:       30 * time.Second,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 20 * time.Second,
		ExpectContinueTimeout: time.Second,
	}
	if !e.IsReal() {
		t.Proxy = nil
		t.ForceAttemptHTTP2 = false
		t.DisableKeepAlives = true
		// The URL stays wss://web.whatsapp.com/…, the simulated service speaks it without TLS.
		t.DialTLSContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, e.Addr)
		}
		t.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, e.Addr)
		}
	}
	return t
}
