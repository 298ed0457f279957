package main

import (
	"bytes"
	"net"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// logged is a process's log while it is written.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A connector that is stopped while it waits for TiDB ends cleanly, between two
// attempts and in the midst of one: it holds nothing, and who stopped it wants to see
// no failure.
func TestStopWhileTiDBIsWaitedFor(t *testing.T) {
	t.Run("it refuses", func(t *testing.T) {
		// Nothing listens any more on a port that was just given up.
		l := listen(t)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		stopsAtStart(t, l.Addr(), func(log *logged) bool { return strings.Contains(log.String(), "waiting for TiDB") })
	})
	t.Run("it says nothing", func(t *testing.T) {
		l := listen(t)
		came := make(chan struct{})
		go func() {
			conn, err := l.Accept()
			if err != nil {
				t.Error(err)
				return
			}
			close(came)
			<-t.Context().Done()
			_ = conn.Close()
		}()
		stopsAtStart(t, l.Addr(), func(*logged) bool {
			select {
			case <-came:
				return true
			default:
				return false
			}
		})
	})
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // it may be closed already
	return l
}

// stopsAtStart runs a connector whose TiDB is at an address, stops it once it waits,
// and checks how it ends.
func stopsAtStart(t *testing.T, tidb net.Addr, waits func(*logged) bool) {
	t.Helper()
	host, port, err := net.SplitHostPort(tidb.String())
	if err != nil {
		t.Fatal(err)
	}
	log := &logged{}
	cmd := exec.CommandContext(t.Context(), "connector", "run")
	cmd.Env = append(cmd.Environ(), "TIDB_HOST="+host, "TIDB_PORT="+port, "TIDB_USER=u", "TIDB_DATABASE=d",
		"SESSION_ENCRYPTION_SECRET="+strings.Repeat("s", 32), "CONNECTOR_ID=waits", "DATA_DIR="+t.TempDir(), "METRICS_ADDR=",
		"AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b")
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(2 * time.Minute); !waits(log); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it doesn't wait for TiDB:\n%s", log)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil || !strings.Contains(log.String(), "connector has stopped") {
		t.Errorf("it ended with %v, want exit status 0 and a line that it has stopped:\n%s", err, log)
	}
}
