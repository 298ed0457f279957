package main

import (
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"time"
)

// notifier tells the service manager how this process is doing, by the protocol
// of sd_notify(3): datagrams of NAME=value lines to the socket $NOTIFY_SOCKET.
// A nil notifier says nothing.
type notifier struct {
	addr   *net.UnixAddr
	log    *slog.Logger
	limit  time.Duration // of one datagram
	silent atomic.Bool   // the last datagram was not delivered, which was logged
}

const (
	notifyTime = time.Second      // bounds the wait for a service manager that does not read
	stopMargin = 10 * time.Second // for what a stop does after its time was over
)

// newNotifier returns nil when socket is empty: no service manager asks. Names
// that start with @ are in the abstract namespace; the net package does the same.
func newNotifier(socket string, log *slog.Logger) (*notifier, error) {
	if socket == "" {
		return nil, nil
	}
	if socket[0] != '/' && socket[0] != '@' {
		return nil, fmt.Errorf("NOTIFY_SOCKET: %q is neither a path nor an abstract socket", socket)
	}
	return &notifier{addr: &net.UnixAddr{Name: socket, Net: "unixgram"}, log: log, limit: notifyTime}, nil
}

// ready: the sessions are being opened and the local socket answers.
func (n *notifier) ready() { n.tell("READY=1", "STATUS=holding sessions") }

// stopping: the sessions are being closed, which may take as long as STOP_SECONDS
// says, whatever the unit thinks (TimeoutStopSec=).
func (n *notifier) stopping(atMost time.Duration) {
	n.tell("STOPPING=1", "STATUS=closing sessions", extend(atMost+stopMargin))
}

// alive is due within every WatchdogSec=.
func (n *notifier) alive() { n.tell("WATCHDOG=1") }

// starting says what the start waits for, which may go on for as long again as
// the given time without being taken for a start that hangs.
func (n *notifier) starting(what string, again time.Duration) {
	n.tell("STATUS="+what, extend(again))
}

// extend asks for more time than the unit gives. It can't shorten that.
func extend(by time.Duration) string { return fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", by.Microseconds()) }

// tell sends one datagram. A failure is logged once and changes nothing else:
// the sessions matter more than who watches.
func (n *notifier) tell(lines ...string) {
	if n == nil {
		return
	}
	err := n.send(strings.Join(lines, "\n"))
	if failed := err != nil; n.silent.Swap(failed) != failed && failed {
		n.log.Warn("service manager not notified", "error", err)
	}
}

func (n *notifier) send(state string) error {
	conn, err := net.DialUnix("unixgram", nil, n.addr)
	if err != nil {
		return fmt.Errorf("notify service manager: %w", err)
	}
	defer func() { _ = conn.Close() }() // a datagram is delivered or refused by then
	if err := conn.SetWriteDeadline(time.Now().Add(n.limit)); err != nil {
		return fmt.Errorf("notify service manager: %w", err)
	}
	if _, err := conn.Write([]byte(state)); err != nil {
		return fmt.Errorf("notify service manager: %w", err)
	}
	return nil
}
