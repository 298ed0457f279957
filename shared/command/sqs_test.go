package command_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"cloudsession/infra/local/sqsconformance"
	"cloudsession/infra/local/sqsemu"
	"cloudsession/shared/command"
)

func start(t *testing.T) *sqsemu.Server {
	t.Helper()
	var s sqsemu.Server
	if _, err := s.Listen(t.Context(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &s
}

func open(t *testing.T, c command.SQSConfig) *command.SQS {
	t.Helper()
	q, err := command.NewSQS(c)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// raw is the SDK's own client, for what a Queue can't do.
func raw(s *sqsemu.Server) *sqs.Client {
	return sqs.New(sqs.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(s.URL()),
		Credentials: credentials.NewStaticCredentialsProvider("id", "secret", ""),
	})
}

func TestQueue(t *testing.T) {
	sqsconformance.RunQueue(t, open(t, command.SQSConfig{Endpoint: start(t).URL()}))
}

// TestMalformedDelivery: what isn't ours comes out as Bad and can be deleted;
// the group goes on.
func TestMalformedDelivery(t *testing.T) {
	s := start(t)
	q := open(t, command.SQSConfig{Endpoint: s.URL()})
	url, err := q.Create(t.Context(), "q.fifo")
	if err != nil {
		t.Fatal(err)
	}
	_, err = raw(s).SendMessage(t.Context(), &sqs.SendMessageInput{
		QueueUrl: &url, MessageBody: aws.String("{}"), MessageGroupId: aws.String("g"), MessageDeduplicationId: aws.String("d"),
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := q.Receive(t.Context(), url, time.Second)
	if err != nil || len(got) != 1 || !errors.Is(got[0].Bad, command.ErrBadMessage) {
		t.Fatalf("received %+v, %v", got, err)
	}
	if err := q.Delete(t.Context(), url, got[0].Receipt); err != nil {
		t.Error(err)
	}
}

// TestSettingsOfAnOlderQueue: a queue made with other settings is brought up to
// date, dead-letter queue included.
func TestSettingsOfAnOlderQueue(t *testing.T) {
	s := start(t)
	c := raw(s)
	for _, name := range []string{"dead.fifo", "q.fifo"} {
		_, err := c.CreateQueue(t.Context(), &sqs.CreateQueueInput{
			QueueName: &name, Attributes: map[string]string{"FifoQueue": "true", "VisibilityTimeout": "5"},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	q := open(t, command.SQSConfig{Endpoint: s.URL(), DeadLetterARN: "arn:aws:sqs:us-east-1:000000000000:dead.fifo"})
	url, err := q.Create(t.Context(), "q.fifo")
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: &url, AttributeNames: []attribute{"All"}})
	if err != nil {
		t.Fatal(err)
	}
	if got.Attributes["VisibilityTimeout"] != "30" || got.Attributes["MessageRetentionPeriod"] != "900" ||
		!strings.Contains(got.Attributes["RedrivePolicy"], "dead.fifo") {
		t.Errorf("attributes are %v", got.Attributes)
	}
}

// TestLostReceiveAnswer: the SDK's retry brings the messages of the lost answer.
func TestLostReceiveAnswer(t *testing.T) {
	s := start(t)
	q := open(t, command.SQSConfig{Endpoint: s.URL()})
	url, err := q.Create(t.Context(), "q.fifo")
	if err != nil {
		t.Fatal(err)
	}
	m := command.Message{V: 1, CommandID: "01K5AZ3V7H8Q2W4E6R8T0Y1N3M", SessionID: "personal", Kind: command.KindSync}
	if err := q.Send(t.Context(), url, m); err != nil {
		t.Fatal(err)
	}
	var calls atomic.Int32
	s.SetFault(func(operation string) sqsemu.Fault {
		if operation == "ReceiveMessage" && calls.Add(1) == 1 {
			return sqsemu.LoseAnswer
		}
		return sqsemu.NoFault
	})
	got, err := q.Receive(t.Context(), url, 0)
	if err != nil || len(got) != 1 || got[0].Message != m || calls.Load() != 2 {
		t.Errorf("received %+v, %v in %d calls", got, err, calls.Load())
	}
}

func TestSQSConfig(t *testing.T) {
	for _, c := range []struct {
		name   string
		config command.SQSConfig
		want   string // part of the error; "" for none
	}{
		{"Amazon's", command.SQSConfig{Region: "ap-southeast-1"}, ""},
		{"no region", command.SQSConfig{}, "AWS_REGION not set"},
		{"loopback needs no region", command.SQSConfig{Endpoint: "http://127.0.0.1:9324"}, ""},
		{"localhost", command.SQSConfig{Endpoint: "http://localhost:9324"}, ""},
		{"IPv6 loopback", command.SQSConfig{Endpoint: "http://[::1]:9324"}, ""},
		{"no scheme", command.SQSConfig{Endpoint: "127.0.0.1:9324"}, "AWS_ENDPOINT_URL_SQS"},
		{"plain HTTP elsewhere", command.SQSConfig{Region: "x", Endpoint: "http://queue.example"}, "plain HTTP"},
		{"TLS elsewhere", command.SQSConfig{Region: "x", Endpoint: "https://queue.example"}, ""},
		{"TLS elsewhere without region", command.SQSConfig{Endpoint: "https://queue.example"}, "AWS_REGION"},
		{"no region's name", command.SQSConfig{Region: "ap southeast 1"}, "AWS_REGION"},
		{"dead letters", command.SQSConfig{Region: "eu-west-1", DeadLetterARN: "arn:aws:sqs:eu-west-1:123456789012:dead_letters-1.fifo"}, ""},
		{"dead letters in China", command.SQSConfig{Region: "cn-north-1", DeadLetterARN: "arn:aws-cn:sqs:cn-north-1:123456789012:d.fifo"}, ""},
		{"an emulator's", command.SQSConfig{Region: "x", Endpoint: "http://[::1]:1", DeadLetterARN: "arn:aws:sqs:us-east-1:000000000000:d.fifo"}, ""},
		{"dead letters by URL", command.SQSConfig{Region: "x", DeadLetterARN: "https://sqs.x.amazonaws.com/123456789012/d.fifo"}, "QUEUE_DEAD_LETTER_ARN"},
		{"dead letters of a topic", command.SQSConfig{Region: "x", DeadLetterARN: "arn:aws:sns:x:123456789012:d.fifo"}, "QUEUE_DEAD_LETTER_ARN"},
		{"no FIFO queue", command.SQSConfig{Region: "x", DeadLetterARN: "arn:aws:sqs:x:123456789012:d"}, "QUEUE_DEAD_LETTER_ARN"},
		{"a longer text", command.SQSConfig{Region: "x", DeadLetterARN: "arn:aws:sqs:x:123456789012:d.fifo "}, "QUEUE_DEAD_LETTER_ARN"},
		{"dead letters elsewhere", command.SQSConfig{Region: "x", DeadLetterARN: "arn:aws:sqs:y:123456789012:d.fifo"}, "QUEUE_DEAD_LETTER_ARN"},
		{"two mistakes", command.SQSConfig{Endpoint: "queue", DeadLetterARN: "d"}, "QUEUE_DEAD_LETTER_ARN"},
	} {
		_, err := command.NewSQS(c.config)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

type attribute = types.QueueAttributeName
