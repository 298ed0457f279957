// Package sqsemu is an Amazon SQS that runs in this process: FIFO queues over
// the JSON protocol the AWS SDKs speak, with long polling, per-group order and
// locking, deduplication, ReceiveRequestAttemptId and redrive to a dead-letter
// queue. sqsconformance says what it is held to.
//
// Everything is in memory and gone when the process ends. That loses nothing
// here: a command's row in TiDB is the truth, and each connector makes its own
// queue again when it starts. Standard queues, message attributes, delays, tags,
// policies and signatures' contents are not covered; what is not covered is
// refused, except that a signature only has to be there.
package sqsemu

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// Server is the service. The zero value is ready for use, as an http.Handler or
// through Listen.
type Server struct {
	mu     sync.Mutex
	queues map[string]*queue
	seq    uint64 // numbers messages and receipts
	fault  func(operation string) Fault

	deleted   map[string]time.Time // when, by the queue's name
	nameTaken time.Duration        // from then on; 0: defaultNameTaken

	http   *http.Server
	addr   net.Addr
	cancel context.CancelFunc
	served sync.WaitGroup
}

// Fault is what is done to one call instead of answering it properly.
type Fault int

// The faults a hook may choose.
const (
	NoFault    Fault = iota
	Refuse           // 503 ServiceUnavailable, nothing done
	LoseAnswer       // done, but the connection is cut before the answer
)

// SetFault installs a hook asked at every call with the operation's name, such
// as "SendMessage"; nil removes it. The hook must be safe for concurrent use.
func (s *Server) SetFault(hook func(operation string) Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = hook
}

// defaultNameTaken is how long SQS refuses the name of a queue that was deleted.
const defaultNameTaken = time.Minute

// SetNameTaken changes how long the name of a deleted queue can't be used again,
// a minute if not set, for tests that have no minute to wait.
func (s *Server) SetNameTaken(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nameTaken = d
}

func (s *Server) faultFor(operation string) Fault {
	s.mu.Lock()
	hook := s.fault
	s.mu.Unlock()
	if hook == nil {
		return NoFault
	}
	return hook(operation)
}

// Listen serves on addr, "127.0.0.1:0" for any free port, until Close. What was
// in the queues before stays there.
func (s *Server) Listen(ctx context.Context, addr string) (net.Addr, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for SQS: %w", err)
	}
	base, cancel := context.WithCancel(context.Background())
	s.http = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return base }, // ends long polls at Close
	}
	s.addr, s.cancel = l.Addr(), cancel
	s.served.Go(func() {
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			panic("serve SQS: " + err.Error()) // the listener is ours alone
		}
	})
	return l.Addr(), nil
}

// URL is the address for AWS_ENDPOINT_URL_SQS, after Listen.
func (s *Server) URL() string { return "http://" + s.addr.String() }

// Close ends long polls, cuts connections and waits until nothing runs. The
// queues keep their messages, and Listen may be called again.
func (s *Server) Close() error {
	if s.http == nil {
		return nil
	}
	s.cancel()
	err := s.http.Close()
	s.served.Wait()
	s.http = nil
	return err
}
