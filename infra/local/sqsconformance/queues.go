package sqsconformance

import (
	"crypto/rand"
	"errors"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

func findQueue(s *suite) {
	name := "conformance-" + rand.Text() + ".fifo"
	url := s.create(name, nil)
	got, err := s.client.GetQueueUrl(s.ctx, &sqs.GetQueueUrlInput{QueueName: &name})
	if err != nil || aws.ToString(got.QueueUrl) != url {
		s.Errorf("GetQueueUrl: %v, %v, want %s", got, err, url)
	}
	list, err := s.client.ListQueues(s.ctx, &sqs.ListQueuesInput{QueueNamePrefix: aws.String(strings.TrimSuffix(name, ".fifo"))})
	if err != nil || !slices.Equal(list.QueueUrls, []string{url}) {
		s.Errorf("ListQueues: %v, %v, want %s", list, err, url)
	}
	if arn := s.settings(url)["QueueArn"]; !strings.HasSuffix(arn, ":"+name) {
		s.Errorf("QueueArn is %q", arn)
	}
}

func missingQueue(s *suite) {
	url := s.queue(nil)
	if _, err := s.client.DeleteQueue(s.ctx, &sqs.DeleteQueueInput{QueueUrl: &url}); err != nil {
		s.Fatal(err)
	}
	_, send := s.client.SendMessage(s.ctx, &sqs.SendMessageInput{
		QueueUrl: &url, MessageBody: aws.String("x"), MessageGroupId: aws.String("g"), MessageDeduplicationId: aws.String("d"),
	})
	_, receive := s.client.ReceiveMessage(s.ctx, &sqs.ReceiveMessageInput{QueueUrl: &url})
	_, find := s.client.GetQueueUrl(s.ctx, &sqs.GetQueueUrlInput{QueueName: aws.String(url[strings.LastIndexByte(url, '/')+1:])})
	for what, err := range map[string]error{"SendMessage": send, "ReceiveMessage": receive, "GetQueueUrl": find} {
		if _, ok := errors.AsType[*types.QueueDoesNotExist](err); !ok {
			s.Errorf("%s: got %v, want QueueDoesNotExist", what, err)
		}
	}
}

func createAgain(s *suite) {
	name := "conformance-" + rand.Text() + ".fifo"
	url := s.create(name, attributes{"VisibilityTimeout": "7"})
	if again := s.create(name, attributes{"VisibilityTimeout": "7"}); again != url {
		s.Errorf("created again: %s, want %s", again, url)
	}
	_, err := s.client.CreateQueue(s.ctx, &sqs.CreateQueueInput{
		QueueName: &name, Attributes: map[string]string{"FifoQueue": "true", "VisibilityTimeout": "8"},
	})
	if _, ok := errors.AsType[*types.QueueNameExists](err); !ok {
		s.Errorf("created with other settings: got %v, want QueueNameExists", err)
	}
	_, err = s.client.CreateQueue(s.ctx, &sqs.CreateQueueInput{
		QueueName: aws.String("conformance-" + rand.Text()), Attributes: map[string]string{"FifoQueue": "true"},
	})
	s.wantCode("FIFO queue without its suffix", err, "InvalidParameterValue")
}

func createDeleted(s *suite) {
	if s.known.NameFreeAtOnce {
		return
	}
	name := "conformance-" + rand.Text() + ".fifo"
	url := s.create(name, nil)
	if _, err := s.client.DeleteQueue(s.ctx, &sqs.DeleteQueueInput{QueueUrl: &url}); err != nil {
		s.Fatal(err)
	}
	_, err := s.client.CreateQueue(s.ctx, &sqs.CreateQueueInput{QueueName: &name, Attributes: map[string]string{"FifoQueue": "true"}})
	if _, ok := errors.AsType[*types.QueueDeletedRecently](err); !ok {
		s.Errorf("created after it was deleted: got %v, want QueueDeletedRecently", err)
	}
}

func changeSettings(s *suite) {
	url := s.queue(attributes{"MessageRetentionPeriod": "900", "VisibilityTimeout": "30"})
	_, err := s.client.SetQueueAttributes(s.ctx, &sqs.SetQueueAttributesInput{
		QueueUrl: &url, Attributes: map[string]string{"VisibilityTimeout": "5"},
	})
	if err != nil {
		s.Fatal(err)
	}
	got := s.settings(url)
	for name, want := range map[string]string{"VisibilityTimeout": "5", "MessageRetentionPeriod": "900", "FifoQueue": "true"} {
		if got[name] != want {
			s.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	_, err = s.client.SetQueueAttributes(s.ctx, &sqs.SetQueueAttributesInput{
		QueueUrl: &url, Attributes: map[string]string{"NoSuchAttribute": "5"},
	})
	if s.known.NoAttributeCheck {
		return
	}
	s.wantCode("unknown attribute", err, "InvalidAttributeName")
}
