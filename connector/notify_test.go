package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudsession/shared/cloudstore"
)

// serviceManager is the other end of sd_notify(3).
func serviceManager(t *testing.T, name string) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// patient returns a notifier of this socket for which a slow machine is no deaf service manager.
func patient(t *testing.T, socket string, log *slog.Logger) *notifier {
	t.Helper()
	n, err := newNotifier(socket, log)
	if err != nil {
		t.Fatal(err)
	}
	n.limit = time.Hour
	return n
}

func heard(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func TestNotify(t *testing.T) {
	for _, name := range []string{
		filepath.Join(t.TempDir(), "notify"),
		fmt.Sprintf("@cloudsession-test-%d", time.Now().UnixNano()),
	} {
		manager := serviceManager(t, name)
		var log bytes.Buffer
		n := patient(t, name, slog.New(slog.NewTextHandler(&log, nil)))
		var got []string
		for _, say := range []func(){
			func() { n.starting("waiting for TiDB", 90*time.Second) }, n.ready, n.alive,
			func() { n.stopping(30 * time.Second) },
		} {
			say()
			got = append(got, heard(t, manager))
		}
		want := []string{
			"STATUS=waiting for TiDB\nEXTEND_TIMEOUT_USEC=90000000",
			"READY=1\nSTATUS=holding sessions",
			"WATCHDOG=1",
			"STOPPING=1\nSTATUS=closing sessions\nEXTEND_TIMEOUT_USEC=40000000",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("socket %s (-want +got):\n%s", name, diff)
		}
		if log.Len() > 0 {
			t.Errorf("socket %s: logged %s", name, log.String())
		}
	}
}

// Without a service manager nothing is said, and nothing fails.
func TestNotifyNobody(t *testing.T) {
	n, err := newNotifier("", nil)
	if n != nil || err != nil {
		t.Errorf("no NOTIFY_SOCKET: %v, %v", n, err)
	}
	n.ready()
	if _, err := newNotifier("vsock:2:1234", nil); err == nil {
		t.Error("a socket of another kind is accepted")
	}
}

// A service manager that went away is one line in the log, however often it is told.
func TestNotifyUnheard(t *testing.T) {
	var log bytes.Buffer
	name := filepath.Join(t.TempDir(), "notify")
	n := patient(t, name, slog.New(slog.NewTextHandler(&log, nil)))
	n.alive()
	n.alive()
	if got := strings.Count(log.String(), "service manager not notified"); got != 1 {
		t.Errorf("logged %d times: %s", got, log.String())
	}
	manager := serviceManager(t, name)
	n.alive()
	if got := heard(t, manager); got != "WATCHDOG=1" {
		t.Errorf("heard %q", got)
	}
}

// A manager that does not read must not hold up the heartbeat for longer than its
// limit.
func TestNotifyFullSocket(t *testing.T) {
	var log bytes.Buffer
	name := filepath.Join(t.TempDir(), "notify")
	serviceManager(t, name)
	n, err := newNotifier(name, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	for range 100_000 {
		if n.alive(); log.Len() > 0 {
			break
		}
	}
	if !strings.Contains(log.String(), "timeout") {
		t.Errorf("100,000 datagrams that nobody reads: logged %q", log.String())
	}
}

// The heartbeat asks for the load on each renewal of the lease: that is what the
// watchdog hears, and only once the load is known.
func TestLoadIsASignOfLife(t *testing.T) {
	name := filepath.Join(t.TempDir(), "notify")
	manager := serviceManager(t, name)
	n := patient(t, name, slog.New(slog.DiscardHandler))
	release := make(chan struct{})
	load := aliveBy(n, func() cloudstore.Load {
		<-release
		return cloudstore.Load{}
	})
	done := make(chan struct{})
	go func() {
		load()
		close(done)
	}()
	n.starting("still waiting", time.Second) // comes first, as the load is held up
	if got := heard(t, manager); !strings.HasPrefix(got, "STATUS=still waiting") {
		t.Errorf("heard %q while the load was held up", got)
	}
	close(release)
	<-done
	if got := heard(t, manager); got != "WATCHDOG=1" {
		t.Errorf("heard %q", got)
	}
}

// While a start waits for what may mend itself, the service manager is told, and
// for how long to wait on.
func TestRetryTellsTheServiceManager(t *testing.T) {
	name := filepath.Join(t.TempDir(), "notify")
	manager := serviceManager(t, name)
	log := slog.New(slog.DiscardHandler)
	n := patient(t, name, log)
	tried := 0
	err := retry(t.Context(), log, n, "waiting for TiDB", func(context.Context) error {
		if tried++; tried == 1 {
			return cloudstore.ErrIncarnation
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := "STATUS=waiting for TiDB\nEXTEND_TIMEOUT_USEC=90000000"
	if got := heard(t, manager); got != want {
		t.Errorf("heard %q, want %q", got, want)
	}
}

// The unit does not start a connector again whose configuration is wrong, and
// does so after any other failure.
func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		name    string
		environ []string
		want    int
	}{
		{"no configuration", nil, exitConfig},
		{"a number that is none", []string{"TIDB_PORT=x"}, exitConfig},
		{"no connector here", []string{"DATA_DIR=" + t.TempDir()}, 1},
	} {
		args := []string{"run"}
		if c.want == 1 {
			args = []string{"sessions"}
		}
		if got := run(t.Context(), args, c.environ, io.Discard, io.Discard); got != c.want {
			t.Errorf("%s: exit code %d, want %d", c.name, got, c.want)
		}
	}
}
