package sqsconformance

import (
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

func entry(id string) types.SendMessageBatchRequestEntry {
	return types.SendMessageBatchRequestEntry{
		Id: &id, MessageBody: &id, MessageGroupId: aws.String("g"), MessageDeduplicationId: &id,
	}
}

func batches(s *suite) {
	url := s.queue(nil)
	sent, err := s.client.SendMessageBatch(s.ctx, &sqs.SendMessageBatchInput{
		QueueUrl: &url, Entries: []types.SendMessageBatchRequestEntry{entry("a"), entry("b"), entry("c")},
	})
	if err != nil || len(sent.Successful) != 3 || len(sent.Failed) != 0 {
		s.Fatalf("send a batch: %v, %v", sent, err)
	}
	got := s.receive(url, 5)
	if bodies(got) != `["a" "b" "c"]` {
		s.Fatalf("received %s", bodies(got))
	}
	deleted, err := s.client.DeleteMessageBatch(s.ctx, &sqs.DeleteMessageBatchInput{QueueUrl: &url, Entries: []types.DeleteMessageBatchRequestEntry{
		{Id: aws.String("1"), ReceiptHandle: got[0].ReceiptHandle},
		{Id: aws.String("2"), ReceiptHandle: aws.String("nonsense")},
		{Id: aws.String("3"), ReceiptHandle: got[2].ReceiptHandle},
	}})
	if err != nil || len(deleted.Successful) != 2 || len(deleted.Failed) != 1 || aws.ToString(deleted.Failed[0].Id) != "2" {
		s.Errorf("delete a batch with one bad receipt: %v, %v", deleted, err)
	}

	var many []types.SendMessageBatchRequestEntry
	for i := range 11 {
		many = append(many, entry(fmt.Sprint(i)))
	}
	_, err = s.client.SendMessageBatch(s.ctx, &sqs.SendMessageBatchInput{QueueUrl: &url, Entries: many})
	if _, ok := errors.AsType[*types.TooManyEntriesInBatchRequest](err); !ok {
		s.Errorf("eleven entries: %v", err)
	}
	_, err = s.client.SendMessageBatch(s.ctx, &sqs.SendMessageBatchInput{
		QueueUrl: &url, Entries: []types.SendMessageBatchRequestEntry{entry("x"), entry("x")},
	})
	if _, ok := errors.AsType[*types.BatchEntryIdsNotDistinct](err); !ok {
		s.Errorf("two entries of one id: %v", err)
	}
}

func badInput(s *suite) {
	url := s.queue(nil)
	send := func(group, dedup *string, body string) error {
		_, err := s.client.SendMessage(s.ctx, &sqs.SendMessageInput{
			QueueUrl: &url, MessageBody: &body, MessageGroupId: group, MessageDeduplicationId: dedup,
		})
		return err
	}
	key := aws.String("k")
	s.wantCode("no group", send(nil, key, "m"), "MissingParameter")
	s.wantCode("no deduplication id", send(key, nil, "m"), "InvalidParameterValue")
	s.wantCode("body over the limit", send(key, key, strings.Repeat("m", 1<<20+1)), "InvalidParameterValue")
	s.none(url)
	if !s.known.NoKeyCheck {
		s.wantCode("group with a space", send(aws.String("toko kopi"), key, "m"), "InvalidParameterValue")
		s.wantCode("group of 129 characters", send(aws.String(strings.Repeat("g", 129)), key, "m"), "InvalidParameterValue")
	}
	_, err := s.client.DeleteMessage(s.ctx, &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: aws.String("nonsense")})
	s.wantCode("delete with nonsense for a receipt", err, "ReceiptHandleIsInvalid")
	_, err = s.client.ChangeMessageVisibility(s.ctx, &sqs.ChangeMessageVisibilityInput{
		QueueUrl: &url, ReceiptHandle: aws.String("nonsense"), VisibilityTimeout: 1,
	})
	s.wantCode("change visibility with nonsense for a receipt", err, "ReceiptHandleIsInvalid")
	_, err = s.client.ReceiveMessage(s.ctx, &sqs.ReceiveMessageInput{QueueUrl: &url, WaitTimeSeconds: 21})
	s.wantCode("waiting 21 seconds", err, "InvalidParameterValue")
}
