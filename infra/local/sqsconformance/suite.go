// Package sqsconformance holds what this project relies on in Amazon SQS, as
// tests over the real SDK that run against any implementation: the emulator of
// infra/local/sqsemu, independent ones, or Amazon's own.
package sqsconformance

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
)

// Target is what is tested.
type Target struct {
	// Client reaches the implementation. Queues are made with names of their own
	// and deleted again.
	Client *sqs.Client
	// Known are faults of this implementation that are known and reported; the
	// assertions they concern are left out, everything else holds.
	Known Known
}

// Known lists faults seen in implementations other than Amazon's.
type Known struct {
	// NoWakeOnDelete: a long poll is not woken when deleting the message in
	// flight frees its group, and notices only later.
	NoWakeOnDelete bool
	// DuplicateGetsNewID: a deduplicated message is answered with a fresh MessageId.
	DuplicateGetsNewID bool
	// DuplicateAfterDelete: a deduplication id is forgotten with its message,
	// not five minutes after it was sent.
	DuplicateAfterDelete bool
	// NoAttemptID: ReceiveRequestAttemptId is ignored.
	NoAttemptID bool
	// OldReceiptDeletes: a receipt from before the last receive still deletes the message.
	OldReceiptDeletes bool
	// NoKeyCheck: length and characters of MessageGroupId and MessageDeduplicationId are not checked.
	NoKeyCheck bool
	// NoAttributeCheck: unknown queue attributes are accepted.
	NoAttributeCheck bool
	// NameFreeAtOnce: the name of a deleted queue may be used again without waiting a minute.
	NameFreeAtOnce bool
}

// Run runs the whole suite as subtests of t.
func Run(t *testing.T, target Target) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(*suite)
	}{
		{"queue is found by its name", findQueue},
		{"missing queue has its own error", missingQueue},
		{"creating again", createAgain},
		{"name of a deleted queue is taken for a while", createDeleted},
		{"settings change", changeSettings},
		{"message comes through whole", roundTrip},
		{"group keeps its order and is locked", groupLock},
		{"one receive may take several of a group", groupBatch},
		{"long poll is woken by a message", wakeOnSend},
		{"long poll is woken by a freed group", wakeOnDelete},
		{"empty receive returns in time", emptyReceive},
		{"message comes again after its visibility timeout", visibilityTimeout},
		{"receipt from before the last receive is refused", oldReceipt},
		{"visibility can be changed", changeVisibility},
		{"duplicate is dropped", duplicate},
		{"same receive attempt gets the same messages", sameAttempt},
		{"redrive to the dead-letter queue", redrive},
		{"batches", batches},
		{"bad input is refused", badInput},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.test(&suite{T: t, ctx: t.Context(), client: target.Client, known: target.Known})
		})
	}
}

type suite struct {
	*testing.T
	ctx    context.Context //nolint:containedctx // one test's
	client *sqs.Client
	known  Known
}

// queue makes a FIFO queue with the given attributes, deleted at the end.
func (s *suite) queue(attributes attributes) (url string) {
	s.Helper()
	return s.create("conformance-"+rand.Text()+".fifo", attributes)
}

// attributes are a queue's settings besides FifoQueue.
type attributes map[string]string

func (s *suite) create(name string, given attributes) (url string) {
	s.Helper()
	attrs := map[string]string{"FifoQueue": "true"}
	maps.Copy(attrs, given)
	made, err := s.client.CreateQueue(s.ctx, &sqs.CreateQueueInput{QueueName: &name, Attributes: attrs})
	if err != nil {
		s.Fatalf("create queue: %v", err)
	}
	s.Cleanup(func() {
		_, err := s.client.DeleteQueue(context.WithoutCancel(s.ctx), &sqs.DeleteQueueInput{QueueUrl: made.QueueUrl})
		if _, gone := errors.AsType[*types.QueueDoesNotExist](err); err != nil && !gone {
			s.Errorf("delete queue: %v", err)
		}
	})
	return *made.QueueUrl
}

func (s *suite) send(url, group, dedup, body string) *sqs.SendMessageOutput {
	s.Helper()
	out, err := s.client.SendMessage(s.ctx, &sqs.SendMessageInput{
		QueueUrl: &url, MessageBody: &body, MessageGroupId: &group, MessageDeduplicationId: &dedup,
	})
	if err != nil {
		s.Fatalf("send %q: %v", body, err)
	}
	return out
}

// receive asks once, waiting up to wait seconds.
func (s *suite) receive(url string, wait int32) []types.Message {
	s.Helper()
	out, err := s.client.ReceiveMessage(s.ctx, &sqs.ReceiveMessageInput{
		QueueUrl: &url, MaxNumberOfMessages: 10, WaitTimeSeconds: wait,
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll},
	})
	if err != nil {
		s.Fatalf("receive: %v", err)
	}
	return out.Messages
}

// one receives exactly one message with the given body, waiting for as long as SQS allows.
func (s *suite) one(url, body string) types.Message {
	s.Helper()
	got := s.receive(url, 20)
	if len(got) != 1 || aws.ToString(got[0].Body) != body {
		s.Fatalf("received %s, want just %q", bodies(got), body)
	}
	return got[0]
}

// none asks without waiting and wants nothing.
func (s *suite) none(url string) {
	s.Helper()
	if got := s.receive(url, 0); len(got) != 0 {
		s.Fatalf("received %s, want nothing", bodies(got))
	}
}

// show lets a message in flight be received again, some seconds from now.
func (s *suite) show(url string, m types.Message, seconds int32) {
	s.Helper()
	_, err := s.client.ChangeMessageVisibility(s.ctx, &sqs.ChangeMessageVisibilityInput{
		QueueUrl: &url, ReceiptHandle: m.ReceiptHandle, VisibilityTimeout: seconds,
	})
	if err != nil {
		s.Fatalf("change visibility: %v", err)
	}
}

func (s *suite) delete(url string, m types.Message) {
	s.Helper()
	if _, err := s.client.DeleteMessage(s.ctx, &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: m.ReceiptHandle}); err != nil {
		s.Fatalf("delete %q: %v", aws.ToString(m.Body), err)
	}
}

func (s *suite) settings(url string) map[string]string {
	s.Helper()
	out, err := s.client.GetQueueAttributes(s.ctx, &sqs.GetQueueAttributesInput{
		QueueUrl: &url, AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameAll},
	})
	if err != nil {
		s.Fatalf("get queue attributes: %v", err)
	}
	return out.Attributes
}

// wantCode wants an error of the service with one of the given codes.
func (s *suite) wantCode(what string, err error, codes ...string) {
	s.Helper()
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		s.Errorf("%s: got %v, want an error of the service", what, err)
		return
	}
	for _, code := range codes {
		if api.ErrorCode() == code {
			return
		}
	}
	s.Errorf("%s: code %s, want %s", what, api.ErrorCode(), strings.Join(codes, " or "))
}

func bodies(messages []types.Message) string {
	var all []string
	for _, m := range messages {
		all = append(all, fmt.Sprintf("%q", aws.ToString(m.Body)))
	}
	return "[" + strings.Join(all, " ") + "]"
}

// during runs act while a long poll of wait seconds is open, and returns what
// the poll got.
func (s *suite) during(url string, wait int32, act func()) []types.Message {
	s.Helper()
	type result struct {
		out *sqs.ReceiveMessageOutput
		err error
	}
	asked, answered := make(chan struct{}), make(chan result, 1)
	go func() {
		close(asked)
		out, err := s.client.ReceiveMessage(s.ctx, &sqs.ReceiveMessageInput{QueueUrl: &url, WaitTimeSeconds: wait, MaxNumberOfMessages: 10})
		answered <- result{out, err}
	}()
	<-asked
	// Whether the poll has reached the service by now can't be seen from here, nor,
	// on a busy machine, whether act has woken it.
	act()
	r := <-answered
	if r.err != nil {
		s.Fatalf("receive: %v", r.err)
	}
	return r.out.Messages
}
