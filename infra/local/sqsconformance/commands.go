package sqsconformance

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"cloudsession/shared/command"
)

// Queue is what connectors do with queues, and what is done when one is forgotten.
type Queue interface {
	command.Queue
	Remove(ctx context.Context, name string) error
}

// RunQueue runs, as subtests of t, what command.Queue and SQS.Remove promise
// against an implementation of them.
func RunQueue(t *testing.T, q Queue) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(*queueSuite)
	}{
		{"creating again finds the queue", queueCreate},
		{"queue that is missing", queueMissing},
		{"message comes through whole", queueRoundTrip},
		{"sent twice, delivered once", queueSendTwice},
		{"session's commands keep their order", queueOrder},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(&queueSuite{T: t, q: q}) })
	}
}

type queueSuite struct {
	*testing.T
	q Queue
}

// queue makes a queue that is removed at the end.
func (s *queueSuite) queue() string {
	s.Helper()
	return s.create(command.QueueName("conformance", rand.Text()))
}

func (s *queueSuite) create(name string) (url string) {
	s.Helper()
	url, err := s.q.Create(s.Context(), name)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		err := s.q.Remove(context.WithoutCancel(s.Context()), name)
		if err != nil && !errors.Is(err, command.ErrNoQueue) {
			s.Error(err)
		}
	})
	return url
}

func message(session string) command.Message {
	return command.Message{V: command.Version, CommandID: ulid.Make().String(), SessionID: session, Kind: command.KindSync}
}

func (s *queueSuite) send(url string, m command.Message) {
	s.Helper()
	if err := s.q.Send(s.Context(), url, m); err != nil {
		s.Fatal(err)
	}
}

// want receives once and compares the messages with the given ones.
func (s *queueSuite) want(url string, wait time.Duration, want ...command.Message) []command.Delivery {
	s.Helper()
	got, err := s.q.Receive(s.Context(), url, wait)
	if err != nil {
		s.Fatal(err)
	}
	messages := make([]command.Message, 0, len(got))
	for _, d := range got {
		if d.Bad != nil || d.ReceiveCount < 1 {
			s.Errorf("delivery %+v", d)
		}
		messages = append(messages, d.Message)
	}
	if fmt.Sprint(messages) != fmt.Sprint(want) {
		s.Fatalf("received %v, want %v", messages, want)
	}
	return got
}

func queueCreate(s *queueSuite) {
	name := command.QueueName("conformance", "toko ☕ "+rand.Text())
	first := s.create(name)
	s.send(first, message("personal"))
	second, err := s.q.Create(s.Context(), name)
	if err != nil || second != first {
		s.Errorf("created again: %s, %v, want %s", second, err, first)
	}
	if got, err := s.q.Receive(s.Context(), second, time.Second); err != nil || len(got) != 1 {
		s.Errorf("received %v, %v after creating again", got, err)
	}
}

func queueMissing(s *queueSuite) {
	name := command.QueueName("conformance", rand.Text())
	url, other := s.create(name), s.queue()
	if err := s.q.Remove(s.Context(), name); err != nil {
		s.Fatal(err)
	}
	if err := s.q.Remove(s.Context(), name); !errors.Is(err, command.ErrNoQueue) {
		s.Errorf("remove again: %v, want ErrNoQueue", err)
	}
	s.send(other, message("personal")) // nobody else's
	if err := s.q.Send(s.Context(), url, message("personal")); !errors.Is(err, command.ErrNoQueue) {
		s.Errorf("send: %v, want ErrNoQueue", err)
	}
	if _, err := s.q.Receive(s.Context(), url, 0); !errors.Is(err, command.ErrNoQueue) {
		s.Errorf("receive: %v, want ErrNoQueue", err)
	}
}

func queueRoundTrip(s *queueSuite) {
	url := s.queue()
	m := message("toko ☕ \"<&>\" " + strings.Repeat("é", 200))
	m.Kind, m.Attempt = command.KindRestore, 3
	s.send(url, m)
	d := s.want(url, 5*time.Second, m)[0]
	if d.ReceiveCount != 1 {
		s.Errorf("received %d times, want 1", d.ReceiveCount)
	}
	for range 2 { // the second time is no error
		if err := s.q.Delete(s.Context(), url, d.Receipt); err != nil {
			s.Error(err)
		}
	}
	s.want(url, 0)
	if err := s.q.Delete(s.Context(), url, "nonsense"); !errors.Is(err, command.ErrReceiptExpired) {
		s.Errorf("delete with nonsense for a receipt: %v, want ErrReceiptExpired", err)
	}
}

func queueSendTwice(s *queueSuite) {
	url := s.queue()
	m := message("personal")
	s.send(url, m)
	s.send(url, m)
	d := s.want(url, 5*time.Second, m)[0]
	if err := s.q.Delete(s.Context(), url, d.Receipt); err != nil {
		s.Fatal(err)
	}
	s.want(url, 0)
	m.Attempt++ // another attempt is another message
	s.send(url, m)
	s.want(url, 5*time.Second, m)
}

func queueOrder(s *queueSuite) {
	url := s.queue()
	first, second, other := message("personal"), message("personal"), message("business")
	s.send(url, first)
	d := s.want(url, 5*time.Second, first)[0]
	s.send(url, second)
	s.send(url, other)
	s.want(url, 5*time.Second, other) // personal is being worked on
	if err := s.q.Delete(s.Context(), url, d.Receipt); err != nil {
		s.Fatal(err)
	}
	s.want(url, 5*time.Second, second)
}
