package whatsapp

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
)

func TestStopIsABarrier(t *testing.T) {
	w := newWorld(t)
	c := w.pairQR()
	c.send(w.other.PN(), "hello")
	if err := c.Stop(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if state, _ := c.State(); state != StateStopped {
		t.Errorf("state %q after Stop", state)
	}
	if _, err := c.Send(testContext(t), w.other.PN().String(), "late", ""); !errors.Is(err, ErrStopped) {
		t.Errorf("send after Stop: %v", err)
	}
	before := c.messages()
	if c.handle(textEvent(w, "late")) {
		t.Error("the handler took a message after Stop")
	}
	if diff := cmp.Diff(before, c.messages()); diff != "" {
		t.Errorf("written after Stop:\n%s", diff)
	}
	w.wait("socket closed", func() bool { return w.service.Device(c.jid()).Sockets == 0 })
	if err := c.Stop(testContext(t)); err != nil {
		t.Errorf("second Stop: %v", err)
	}
}

// A service that takes the connection and then says nothing doesn't hold up a stop.
func TestStopWhileTheServiceIsSilent(t *testing.T) {
	t.Parallel() // whatsmeow waits for its handshake
	w := newWorld(t)
	paired := w.pairQR()
	paired.close()
	var silent sync.WaitGroup
	dialled, end := make(chan struct{}, 8), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(rw, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
		if err != nil {
			t.Error(err)
			return
		}
		silent.Add(1)
		defer silent.Done()
		if _, _, err := conn.Read(r.Context()); err == nil { // whatsmeow is past its dial
			dialled <- struct{}{}
		}
		<-end
		_ = conn.CloseNow()
	}))
	defer server.Close()
	defer silent.Wait()
	defer close(end)
	c := w.open(paired.path, func(cfg *Config) {
		cfg.Endpoint.Addr = server.Listener.Addr().String()
		cfg.Grace = Grace{} // whatsmeow gives up its handshake only long after
	})
	ctx, cancel := context.WithCancel(testContext(t))
	go func() {
		<-dialled
		cancel()
	}()
	if err := c.Connect(ctx, false); !errors.Is(err, context.Canceled) {
		t.Fatalf("connect: %v", err)
	}
	if err := c.Stop(testContext(t)); err == nil {
		t.Error("Stop says that nothing was under way, or waited for it")
	}
	c.tasks.Wait() // until whatsmeow gives up its handshake
}

func TestStopWithoutStart(t *testing.T) {
	w := newWorld(t)
	c := w.open(filepath.Join(t.TempDir(), "session.db"))
	if err := c.Stop(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Pair(testContext(t), PairRequest{}); !errors.Is(err, ErrStopped) {
		t.Errorf("pair after Stop: %v", err)
	}
	if state, _ := c.State(); state != StateUnpaired {
		t.Errorf("state %q", state)
	}
}
