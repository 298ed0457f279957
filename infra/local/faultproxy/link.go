package faultproxy

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// link is one connection of a client and the one made to the server for it.
type link struct {
	proxy  *Proxy
	number int
	client *net.TCPConn
	server *net.TCPConn
	done   chan struct{} // closed when the link is cut
	once   sync.Once

	expected expectation // what the next answer is for

	// The proxy's lock guards these.
	state   *state
	changed chan struct{} // closed when state changes
	carried int64         // since state was set
	lossy   bool          // bytes were swallowed
	apart   bool          // its client is gone and its statement on the way: no fault reaches it
}

// errCut: the link is over.
var errCut = errors.New("link was cut")

// set is called with the proxy's lock.
func (l *link) set(s *state) {
	if l.apart {
		return
	}
	l.state, l.carried = s, 0
	close(l.changed)
	l.changed = make(chan struct{})
	if s.Cut || l.lossy {
		l.cut()
	}
}

// connected enters the server's side; false if the link was cut meanwhile.
func (l *link) connected(server *net.TCPConn) bool {
	l.proxy.mu.Lock()
	defer l.proxy.mu.Unlock()
	select {
	case <-l.done:
		reset(server)
		return false
	default:
		l.server = server
		return true
	}
}

// cut resets both sides.
func (l *link) cut() { l.close(reset) }

// cutUnless cuts a link that didn't come to an orderly end in one direction.
func (l *link) cutUnless(orderly bool) {
	if !orderly {
		l.cut()
	}
}

func (l *link) close(end func(*net.TCPConn)) {
	l.once.Do(func() {
		close(l.done)
		end(l.client)
		if l.server != nil {
			end(l.server)
		}
	})
}

// end forgets a link that carries no more; what is on its way still arrives.
func (l *link) end() {
	l.proxy.mu.Lock()
	defer l.proxy.mu.Unlock()
	l.close(func(c *net.TCPConn) { _ = c.Close() })
	delete(l.proxy.links, l)
}

// detach puts the link out of every fault's reach.
func (l *link) detach() {
	l.proxy.mu.Lock()
	defer l.proxy.mu.Unlock()
	l.state, l.apart = newState(Fault{}), true
}

func (l *link) now() (*state, <-chan struct{}) {
	l.proxy.mu.Lock()
	defer l.proxy.mu.Unlock()
	return l.state, l.changed
}

// carryAll carries bytes from one side to the other; true is an orderly end.
func (l *link) carryAll(from, to *net.TCPConn, way Direction) bool {
	buf := make([]byte, 64<<10)
	for {
		s, _ := l.now()
		n, err := from.Read(buf[:s.chunk()])
		if n > 0 && l.carry(to, way, buf[:n]) != nil {
			return false
		}
		if err != nil {
			return l.carryEnd(to, way, err)
		}
	}
}

// carry brings data across as the fault of the moment has it.
func (l *link) carry(to *net.TCPConn, way Direction, data []byte) error {
	for len(data) > 0 {
		s, err := l.ready(way)
		if err != nil {
			return err
		}
		n := min(len(data), s.chunk())
		if s.Swallow&way != 0 {
			l.proxy.mu.Lock()
			l.lossy = true
			l.proxy.lost += n
			l.proxy.mu.Unlock()
			data = data[n:]
			continue
		}
		n, pause, last := l.allow(s, n)
		if pause > 0 && !l.wait(pause) {
			return errCut
		}
		if _, err := to.Write(data[:n]); err != nil {
			return err
		}
		if last {
			l.cut()
			return errCut
		}
		data = data[n:]
	}
	return nil
}

// carryEnd tells the other side that nothing more comes, and reports whether
// that was the orderly end of one direction.
func (l *link) carryEnd(to *net.TCPConn, way Direction, err error) bool {
	for {
		s, cut := l.ready(way)
		if cut != nil {
			return false
		}
		if s.Swallow&way == 0 {
			return errors.Is(err, io.EOF) && to.CloseWrite() == nil
		}
		l.proxy.mu.Lock()
		l.lossy = true
		changed := l.changed
		l.proxy.mu.Unlock()
		select {
		case <-changed:
		case <-l.done:
		}
	}
}

// ready waits while the fault holds this direction, and returns the fault.
func (l *link) ready(way Direction) (*state, error) {
	for {
		s, changed := l.now()
		select {
		case <-l.done:
			return s, errCut
		default:
		}
		if way == Answers && s.LoseAnswers {
			return s, errCut
		}
		if s.Hold&way == 0 {
			return s, nil
		}
		select {
		case <-changed:
		case <-l.done:
		}
	}
}

// allow says how much of n bytes may go now, after what pause, and whether the
// connection is to be cut behind them.
func (l *link) allow(s *state, n int) (allowed int, pause time.Duration, last bool) {
	l.proxy.mu.Lock()
	defer l.proxy.mu.Unlock()
	if s.CutAfter > 0 && l.carried+int64(n) >= s.CutAfter {
		n, last = int(max(s.CutAfter-l.carried, 0)), true
	}
	l.carried += int64(n)
	return n, s.pause(n), last
}

// wait returns false if the link was cut meanwhile.
func (l *link) wait(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.done:
		return false
	}
}
