package metrics

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"cloudsession/shared/command"
)

// Values of the label operation of SQS's errors.
const (
	operationCreate  = "create"
	operationSend    = "send"
	operationReceive = "receive"
	operationDelete  = "delete"
)

type queueErrors struct{ *prometheus.CounterVec }

func newQueueErrors(f factory) *queueErrors {
	return &queueErrors{f.counters("sqs_errors_total", "Calls of SQS that failed, by what was asked for.", "operation",
		operationCreate, operationSend, operationReceive, operationDelete)}
}

// Queue watches a queue.
func (m *Metrics) Queue(q command.Queue) command.Queue { return &watchedQueue{q, m.queue} }

type watchedQueue struct {
	command.Queue
	failed *queueErrors
}

// note counts an error of a call. A call that was given up is none, and neither is
// a receipt that ran out: the message only comes again.
func (q *watchedQueue) note(operation string, err error) error {
	if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, command.ErrReceiptExpired) {
		q.failed.WithLabelValues(operation).Inc()
	}
	return err
}

// Create implements command.Queue.
func (q *watchedQueue) Create(ctx context.Context, name string) (string, error) {
	url, err := q.Queue.Create(ctx, name)
	return url, q.note(operationCreate, err)
}

// Send implements command.Queue.
func (q *watchedQueue) Send(ctx context.Context, url string, m command.Message) error {
	return q.note(operationSend, q.Queue.Send(ctx, url, m))
}

// Receive implements command.Queue.
func (q *watchedQueue) Receive(ctx context.Context, url string, wait time.Duration) ([]command.Delivery, error) {
	list, err := q.Queue.Receive(ctx, url, wait)
	return list, q.note(operationReceive, err)
}

// Delete implements command.Queue.
func (q *watchedQueue) Delete(ctx context.Context, url, receipt string) error {
	return q.note(operationDelete, q.Queue.Delete(ctx, url, receipt))
}
