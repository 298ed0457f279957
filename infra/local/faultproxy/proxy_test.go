package faultproxy_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cloudsession/infra/local/faultproxy"
)

// patience is for what must happen, on a machine that may be busy.
const patience = 2 * time.Minute

// echo is a server that repeats lines and remembers them.
type echo struct {
	listen net.Listener
	wg     sync.WaitGroup
	lines  chan string
	ends   chan error // how clients' connections ended
}

func startEcho(t *testing.T) (*echo, *faultproxy.Proxy) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &echo{listen: l, lines: make(chan string, 100), ends: make(chan error, 100)}
	e.wg.Go(e.accept)
	p, err := faultproxy.Start(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(p.Close(), l.Close()); err != nil {
			t.Error(err)
		}
		e.wg.Wait()
	})
	return e, p
}

func (e *echo) accept() {
	for {
		c, err := e.listen.Accept()
		if err != nil {
			return
		}
		e.wg.Go(func() {
			defer func() { _ = c.Close() }()
			in := bufio.NewReader(c)
			for {
				line, err := in.ReadString('\n')
				if err != nil {
					e.ends <- err
					return
				}
				e.lines <- line
				if _, err := io.WriteString(c, line); err != nil {
					return
				}
			}
		})
	}
}

// next waits for a line or an end.
func next[T any](t *testing.T, ch <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(patience):
		t.Fatal("waited in vain")
	}
	return v
}

func dial(t *testing.T, p *faultproxy.Proxy) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func say(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// hear reads n bytes, or says why that can't be.
func hear(c net.Conn, n int) (string, error) {
	_ = c.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, n)
	got, err := io.ReadFull(c, buf)
	return string(buf[:got]), err
}

func wantHeard(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if got, err := hear(c, len(text)); got != text {
		t.Fatalf("heard %q, %v; want %q", got, err, text)
	}
}

func wantCut(t *testing.T, c net.Conn) {
	t.Helper()
	if got, err := hear(c, 1); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("heard %q, %v; want a reset", got, err)
	}
}

// wantCutNew wants a new connection to be cut, which its client may learn while it
// is still connecting.
func wantCutNew(t *testing.T, p *faultproxy.Proxy) {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if errors.Is(err, syscall.ECONNRESET) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	wantCut(t, c)
}

// wantSilence checks that nothing arrives for a moment.
func wantSilence(t *testing.T, e *echo, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if n, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read %d bytes, %v; want silence", n, err)
	}
	select {
	case line := <-e.lines:
		t.Fatalf("the server got %q", line)
	default:
	}
}

// wantSwallowed waits until the proxy has lost so many bytes.
func wantSwallowed(t *testing.T, p *faultproxy.Proxy, bytes int) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for late := time.After(patience); p.Swallowed() != bytes; {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%d bytes were lost, want %d", p.Swallowed(), bytes)
		}
	}
}

func TestPassAndEnd(t *testing.T) {
	e, p := startEcho(t)
	c := dial(t, p)
	long := strings.Repeat("long ", 100_000) + "\n"
	go func() { _, _ = io.WriteString(c, long) }()
	wantHeard(t, c, long)
	next(t, e.lines)
	_ = c.Close()
	if err := next(t, e.ends); !errors.Is(err, io.EOF) {
		t.Errorf("the server saw %v, want an orderly end", err)
	}
}

func TestCut(t *testing.T) {
	_, p := startEcho(t)
	c := dial(t, p)
	say(t, c, "a\n")
	wantHeard(t, c, "a\n")
	p.Set(faultproxy.Fault{Cut: true})
	wantCut(t, c)
	wantCutNew(t, p)
	p.Set(faultproxy.Fault{})
	c = dial(t, p)
	say(t, c, "b\n")
	wantHeard(t, c, "b\n")
	p.SetNew(faultproxy.Fault{Cut: true})
	wantCutNew(t, p)
	say(t, c, "c\n")
	wantHeard(t, c, "c\n")
	p.Reset()
	wantCut(t, c)
}

// What a vanished peer's connection lost can't be made whole: it is reset.
func TestSwallow(t *testing.T) {
	e, p := startEcho(t)
	c := dial(t, p)
	say(t, c, "a\n")
	wantHeard(t, c, "a\n")
	next(t, e.lines)
	p.Set(faultproxy.Fault{Swallow: faultproxy.Both})
	say(t, c, "lost\n")
	wantSwallowed(t, p, len("lost\n"))
	wantSilence(t, e, c)
	p.Set(faultproxy.Fault{})
	wantCut(t, c)

	c = dial(t, p)
	p.Set(faultproxy.Fault{Swallow: faultproxy.Answers})
	say(t, c, "heard\n")
	if line := next(t, e.lines); line != "heard\n" {
		t.Errorf("the server got %q", line)
	}
	wantSwallowed(t, p, len("lost\nheard\n"))
	wantSilence(t, e, c)
}

// What a parted network held arrives when it heals, though the client has gone.
func TestHold(t *testing.T) {
	e, p := startEcho(t)
	c := dial(t, p)
	p.Set(faultproxy.Fault{Hold: faultproxy.Both})
	say(t, c, "late\n")
	wantSilence(t, e, c)
	_ = c.Close()
	p.Set(faultproxy.Fault{})
	if line := next(t, e.lines); line != "late\n" {
		t.Errorf("the server got %q", line)
	}
	if err := next(t, e.ends); !errors.Is(err, io.EOF) {
		t.Errorf("the server saw %v, want an orderly end", err)
	}
}

func TestLoseAnswers(t *testing.T) {
	e, p := startEcho(t)
	c := dial(t, p)
	p.Set(faultproxy.Fault{LoseAnswers: true})
	say(t, c, "carried out\n")
	wantCut(t, c)
	if line := next(t, e.lines); line != "carried out\n" {
		t.Errorf("the server got %q", line)
	}
}

func TestCutAfter(t *testing.T) {
	_, p := startEcho(t)
	p.Set(faultproxy.Fault{CutAfter: 10})
	c := dial(t, p)
	say(t, c, "1234\n")
	got, err := hear(c, 6)
	if len(got) > 5 || err == nil {
		t.Errorf("heard %q, %v; want a cut behind 10 bytes both ways", got, err)
	}
}

func TestSlow(t *testing.T) {
	_, p := startEcho(t)
	const latency = 30 * time.Millisecond
	p.Set(faultproxy.Fault{Latency: latency, Jitter: time.Millisecond, BytesPerSecond: 100_000, Seed: 7})
	c := dial(t, p)
	line := strings.Repeat("x", 9_999) + "\n"
	started := time.Now()
	say(t, c, line)
	wantHeard(t, c, line)
	// There and back, and ten thousand bytes each way at a hundred thousand a second.
	if took := time.Since(started); took < 2*latency+100*time.Millisecond {
		t.Errorf("took %v", took)
	}
}
