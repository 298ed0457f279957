package stack

import (
	"errors"
	"fmt"
	"net"
	"strconv"

	"golang.org/x/sys/unix"
)

var loopback = [4]byte{127, 0, 0, 1}

// reservePort finds a free port of the loopback interface for a server that may be
// stopped and started again. A socket is bound to it and never listens: so the kernel
// gives it to nobody who asks for any port, nor to an outgoing connection; who names it
// and allows SO_REUSEADDR, as Go's listeners do, can listen there; and while nobody
// does, connections are refused.
func reservePort() (addr string, release func() error, err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", nil, fmt.Errorf("reserve a port: %w", err)
	}
	release = func() error {
		if err := unix.Close(fd); err != nil {
			return fmt.Errorf("give up a reserved port: %w", err)
		}
		return nil
	}
	port, err := bindAny(fd)
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("reserve a port: %w", err), release())
	}
	return net.JoinHostPort(net.IP(loopback[:]).String(), strconv.Itoa(port)), release, nil
}

func bindAny(fd int) (port int, err error) {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return 0, err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: loopback}); err != nil {
		return 0, err
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return 0, err
	}
	return name.(*unix.SockaddrInet4).Port, nil // the family it was made for
}
