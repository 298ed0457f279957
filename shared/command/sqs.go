package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
	"github.com/oklog/ulid/v2"
)

// SQS is a Queue on Amazon SQS, safe for concurrent use.
type SQS struct {
	client     *sqs.Client
	deadLetter string
}

var _ Queue = (*SQS)(nil)

// NewSQS makes a client without touching the network. Credentials are, unless
// given, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN of the
// environment; for an endpoint on loopback, dummies; else the VM's instance role.
func NewSQS(c SQSConfig) (*SQS, error) {
	if err := errors.Join(c.Problems()...); err != nil {
		return nil, fmt.Errorf("configure SQS: %w", err)
	}
	c.complete()
	o := sqs.Options{Region: c.Region, Credentials: c.Credentials}
	if c.Endpoint != "" {
		o.BaseEndpoint = aws.String(c.Endpoint)
	}
	return &SQS{client: sqs.New(o), deadLetter: c.DeadLetterARN}, nil
}

// Create implements Queue.
func (q *SQS) Create(ctx context.Context, name string) (string, error) {
	attrs, err := q.attributes()
	if err != nil {
		return "", err
	}
	made, err := q.client.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: &name, Attributes: attrs})
	if err == nil {
		return aws.ToString(made.QueueUrl), nil
	}
	// CreateQueue finds a queue of the same settings; with other ones it refuses.
	if _, ok := errors.AsType[*types.QueueNameExists](err); !ok {
		return "", fmt.Errorf("create queue %s: %w", name, err)
	}
	found, err := q.client.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: &name})
	if err != nil {
		return "", fmt.Errorf("find queue %s: %w", name, err)
	}
	delete(attrs, string(types.QueueAttributeNameFifoQueue)) // can't be set afterwards
	_, err = q.client.SetQueueAttributes(ctx, &sqs.SetQueueAttributesInput{QueueUrl: found.QueueUrl, Attributes: attrs})
	if err != nil {
		return "", fmt.Errorf("update settings of queue %s: %w", name, err)
	}
	return aws.ToString(found.QueueUrl), nil
}

func (q *SQS) attributes() (map[string]string, error) {
	attrs := map[string]string{
		string(types.QueueAttributeNameFifoQueue):              "true",
		string(types.QueueAttributeNameVisibilityTimeout):      seconds(VisibilityTimeout),
		string(types.QueueAttributeNameMessageRetentionPeriod): seconds(Retention),
	}
	if q.deadLetter == "" {
		return attrs, nil
	}
	policy, err := json.Marshal(map[string]any{"deadLetterTargetArn": q.deadLetter, "maxReceiveCount": MaxReceives})
	if err != nil {
		return nil, fmt.Errorf("encode redrive policy: %w", err)
	}
	attrs[string(types.QueueAttributeNameRedrivePolicy)] = string(policy)
	return attrs, nil
}

func seconds(d time.Duration) string { return strconv.Itoa(int(d / time.Second)) }

// Remove deletes the queue of that name and what is in it: whose connector is
// forgotten (see QueueName). The address is SQS's answer, never one that somebody
// has written down. ErrNoQueue when there is no such queue.
func (q *SQS) Remove(ctx context.Context, name string) error {
	found, err := q.client.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: &name})
	if err != nil {
		return fmt.Errorf("find queue %s: %w", name, classify(err))
	}
	_, err = q.client.DeleteQueue(ctx, &sqs.DeleteQueueInput{QueueUrl: found.QueueUrl})
	// Gone meanwhile: by a call whose answer was lost, or by somebody else.
	if err = classify(err); err != nil && !errors.Is(err, ErrNoQueue) {
		return fmt.Errorf("remove queue %s: %w", name, err)
	}
	return nil
}

// Send implements Queue.
func (q *SQS) Send(ctx context.Context, url string, m Message) error {
	body, err := m.Encode()
	if err != nil {
		return err
	}
	_, err = q.client.SendMessage(ctx, &sqs.SendMessageInput{
		QueueUrl:               &url,
		MessageBody:            aws.String(string(body)),
		MessageGroupId:         aws.String(groupID(m.SessionID)),
		MessageDeduplicationId: aws.String(m.CommandID + "-" + strconv.Itoa(m.Attempt)),
	})
	if err != nil {
		return fmt.Errorf("send command %s to %s: %w", m.CommandID, queueOf(url), classify(err))
	}
	return nil
}

// Receive implements Queue.
func (q *SQS) Receive(ctx context.Context, url string, wait time.Duration) ([]Delivery, error) {
	out, err := q.client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
		QueueUrl:            &url,
		MaxNumberOfMessages: 10,
		WaitTimeSeconds:     int32(min(wait, 20*time.Second) / time.Second), //nolint:gosec // G115: 20 at most
		// The SDK repeats a call whose answer was lost; with the same attempt id
		// it gets the same messages instead of waiting until they are visible again.
		ReceiveRequestAttemptId:     aws.String(ulid.Make().String()),
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameApproximateReceiveCount},
	})
	if err != nil {
		return nil, fmt.Errorf("receive from %s: %w", queueOf(url), classify(err))
	}
	deliveries := make([]Delivery, 0, len(out.Messages))
	for _, m := range out.Messages {
		deliveries = append(deliveries, delivery(m))
	}
	return deliveries, nil
}

func delivery(m types.Message) Delivery {
	d := Delivery{Receipt: aws.ToString(m.ReceiptHandle)}
	d.ReceiveCount, _ = strconv.Atoi(m.Attributes[string(types.MessageSystemAttributeNameApproximateReceiveCount)])
	d.Message, d.Bad = Decode([]byte(aws.ToString(m.Body)))
	return d
}

// Delete implements Queue.
func (q *SQS) Delete(ctx context.Context, url, receipt string) error {
	_, err := q.client.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: &receipt})
	if err != nil {
		return fmt.Errorf("delete message from %s: %w", queueOf(url), classify(err))
	}
	return nil
}

// classify adds this package's sentinels to the errors a caller can act on.
func classify(err error) error {
	if _, ok := errors.AsType[*types.QueueDoesNotExist](err); ok {
		return fmt.Errorf("%w: %w", ErrNoQueue, err)
	}
	if _, ok := errors.AsType[*types.ReceiptHandleIsInvalid](err); ok {
		return fmt.Errorf("%w: %w", ErrReceiptExpired, err)
	}
	// SQS answers an expired receipt of a FIFO queue with InvalidParameterValue.
	if api, ok := errors.AsType[smithy.APIError](err); ok && api.ErrorCode() == "InvalidParameterValue" &&
		strings.Contains(api.ErrorMessage(), "ReceiptHandle") {
		return fmt.Errorf("%w: %w", ErrReceiptExpired, err)
	}
	return err
}

// queueOf is a queue's name, for error texts.
func queueOf(url string) string { return url[strings.LastIndexByte(url, '/')+1:] }
