//go:build unix && !linux

package stack

// reservePort leaves the choice to the server: other systems let nobody listen where
// a socket is bound. A server that starts again may find its port taken.
func reservePort() (addr string, release func() error, err error) {
	return "127.0.0.1:0", func() error { return nil }, nil
}
