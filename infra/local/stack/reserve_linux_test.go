package stack

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// While the database is stopped its port is nobody's who asks for any free one. No
// client is left to keep it, as connections that the engine ended would for a minute.
func TestStoppedDatabaseKeepsItsPort(t *testing.T) {
	root, err := Root()
	if err == nil {
		err = Build(t.Context(), t.Output())
	}
	if err != nil {
		t.Fatal(err)
	}
	d, err := startDatabase(t.Context(), root, t.TempDir(), "password", func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	s := &Stack{db: d}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := s.StopDatabase(); err != nil {
		t.Fatal(err)
	}
	if err := bindOther(t, d.config.Port); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("another program gets the port of the stopped database: %v", err)
	}
	if err := s.StartDatabase(t.Context()); err != nil {
		t.Error(err)
	}
}

// bindOther asks for a free port where only one is. An old kernel, which can't be
// asked so, is asked for that one.
func bindOther(t *testing.T, port int) error {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Close(fd); err != nil {
			t.Error(err)
		}
	}()
	to := &unix.SockaddrInet4{Addr: loopback}
	if unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_LOCAL_PORT_RANGE, port<<16|port) != nil {
		to.Port = port
	} else if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil { // as net.Listen does
		t.Fatal(err)
	}
	return unix.Bind(fd, to)
}
