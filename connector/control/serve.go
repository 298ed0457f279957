package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Server serves a connector's local socket, and ends so that whoever waits for an
// answer gets it: first End, then what ends the sessions, then Close.
type Server struct {
	http   http.Server
	ending context.Context // begins to end with End
	end    context.CancelFunc
}

// errEnding is what a request is told that End has ended.
var errEnding = errors.New("connector is stopping")

// NewServer returns a server that serves nothing yet.
func NewServer(c Connector) *Server {
	s := &Server{}
	s.ending, s.end = context.WithCancel(context.Background())
	s.http.Handler = routes(handler{c: c, ending: s.ending})
	s.http.ReadHeaderTimeout = 10 * time.Second
	return s
}

// Serve answers the requests that come through l, until End.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve local socket: %w", err)
	}
	return nil
}

// End takes no connection any more and ends the requests that run, but for sends:
// those get their answer from the end of their session, which waits for the service's
// ack (O6).
func (s *Server) End() error {
	s.end()
	over, cancel := context.WithCancel(context.Background())
	cancel() // only the listener is closed here: Close waits
	if err := s.http.Shutdown(over); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("close local socket: %w", err)
	}
	return nil
}

// Close waits, after End, until every request has its answer. When ctx ends it cuts
// off what is left, and returns ctx's error.
func (s *Server) Close(ctx context.Context) error {
	if err := s.http.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("wait for requests: %w", err), s.http.Close())
	}
	return nil
}

// lastLines is how long each line of a stream that was ended waits for a client to read
// it: one that doesn't read must not hold up the end.
const lastLines = time.Second

// untilEnd handles requests that End ends.
func (h handler) untilEnd(handle http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		defer context.AfterFunc(h.ending, func() { cancel(errEnding) })()
		handle(w, r.WithContext(ctx))
	}
}

// receiving is untilEnd for those that read a long body: a client that sends no more must
// not hold up the end, and a read doesn't end with its context.
func (h handler) receiving(handle http.HandlerFunc) http.HandlerFunc {
	return h.untilEnd(func(w http.ResponseWriter, r *http.Request) {
		defer context.AfterFunc(h.ending, func() {
			// A connection without deadlines is broken already.
			_ = http.NewResponseController(w).SetReadDeadline(time.Now())
		})()
		handle(w, r)
	})
}

// streaming is untilEnd for those whose answer is a stream.
func (h handler) streaming(handle http.HandlerFunc) http.HandlerFunc {
	return h.untilEnd(func(w http.ResponseWriter, r *http.Request) {
		defer context.AfterFunc(h.ending, func() {
			// A connection without deadlines is broken already.
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(lastLines))
		})()
		handle(w, r)
	})
}

// why says why a handler failed: of a request that End has ended err tells only that
// its context was.
func why(r *http.Request, err error) error {
	if errors.Is(err, context.Canceled) && errors.Is(context.Cause(r.Context()), errEnding) {
		return errEnding
	}
	return err
}
