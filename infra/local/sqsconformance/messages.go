package sqsconformance

import (
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

func roundTrip(s *suite) {
	url := s.queue(nil)
	body := `{"sessionId":"toko ☕ \" <&>` + strings.Repeat("é", 3000) + `"}`
	sent := s.send(url, "g", "d", body)
	m := s.one(url, body)
	if aws.ToString(m.MessageId) != aws.ToString(sent.MessageId) {
		s.Errorf("MessageId %q, sent as %q", aws.ToString(m.MessageId), aws.ToString(sent.MessageId))
	}
	for name, want := range map[string]string{"ApproximateReceiveCount": "1", "MessageGroupId": "g", "MessageDeduplicationId": "d"} {
		if m.Attributes[name] != want {
			s.Errorf("%s is %q, want %q", name, m.Attributes[name], want)
		}
	}
	s.delete(url, m)
	s.delete(url, m) // twice is no error
	s.none(url)
}

func groupLock(s *suite) {
	url := s.queue(nil)
	s.send(url, "a", "1", "a1")
	first := s.one(url, "a1")
	s.send(url, "a", "2", "a2")
	s.none(url)
	s.send(url, "b", "3", "b1")
	s.one(url, "b1") // another group goes on
	s.none(url)
	s.delete(url, first)
	s.one(url, "a2")
}

func groupBatch(s *suite) {
	url := s.queue(nil)
	var want []string
	for i := range 4 {
		body := fmt.Sprint("m", i)
		want = append(want, fmt.Sprintf("%q", body))
		s.send(url, "a", body, body)
	}
	got := s.receive(url, 5)
	if bodies(got) != "["+strings.Join(want, " ")+"]" {
		s.Fatalf("received %s, want %s", bodies(got), want)
	}
	s.delete(url, got[0])
	s.none(url) // the others are in flight still
}

func wakeOnSend(s *suite) {
	url := s.queue(nil)
	got := s.during(url, 20, func() { s.send(url, "g", "d", "hello") })
	if bodies(got) != `["hello"]` {
		s.Errorf("received %s", bodies(got))
	}
}

func wakeOnDelete(s *suite) {
	url := s.queue(nil)
	s.send(url, "g", "1", "first")
	first := s.one(url, "first")
	s.send(url, "g", "2", "second")
	got := s.during(url, 15, func() { s.delete(url, first) })
	if s.known.NoWakeOnDelete && len(got) == 0 {
		s.one(url, "second")
		return
	}
	if bodies(got) != `["second"]` {
		s.Errorf("received %s", bodies(got))
	}
}

func emptyReceive(s *suite) {
	url := s.queue(nil)
	began := time.Now()
	if got := s.receive(url, 1); len(got) != 0 {
		s.Errorf("received %s", bodies(got))
	}
	if took := time.Since(began); took < 900*time.Millisecond {
		s.Errorf("waiting one second took %v", took)
	}
}

func visibilityTimeout(s *suite) {
	url := s.queue(attributes{"VisibilityTimeout": "1"})
	s.send(url, "g", "d", "again")
	s.one(url, "again")
	second := s.one(url, "again") // by itself
	if count := second.Attributes["ApproximateReceiveCount"]; count != "2" {
		s.Errorf("ApproximateReceiveCount is %s, want 2", count)
	}
}

func oldReceipt(s *suite) {
	url := s.queue(attributes{"VisibilityTimeout": "600"})
	s.send(url, "g", "d", "again")
	first := s.one(url, "again")
	s.show(url, first, 0)
	second := s.one(url, "again")
	_, err := s.client.DeleteMessage(s.ctx, &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: first.ReceiptHandle})
	if s.known.OldReceiptDeletes {
		return
	}
	s.wantCode("delete with the old receipt", err, "InvalidParameterValue", "ReceiptHandleIsInvalid")
	s.delete(url, second)
}

func changeVisibility(s *suite) {
	url := s.queue(attributes{"VisibilityTimeout": "600"})
	s.send(url, "g", "d", "m")
	m := s.one(url, "m")
	s.none(url) // until its time is over
	s.show(url, m, 0)
	m = s.one(url, "m") // at once
	s.show(url, m, 1)
	m = s.one(url, "m") // after a second
	s.delete(url, m)
}

func duplicate(s *suite) {
	url := s.queue(nil)
	first := s.send(url, "g", "same", "m")
	second := s.send(url, "g", "same", "m")
	if aws.ToString(first.MessageId) != aws.ToString(second.MessageId) && !s.known.DuplicateGetsNewID {
		s.Errorf("the duplicate got a MessageId of its own")
	}
	s.delete(url, s.one(url, "m"))
	if !s.known.DuplicateAfterDelete {
		s.send(url, "g", "same", "m")
		s.none(url)
	}
	s.send(url, "g", "other", "m")
	s.one(url, "m")
}

func sameAttempt(s *suite) {
	url := s.queue(nil)
	s.send(url, "g", "1", "m1")
	ask := func(attempt string) []types.Message {
		s.Helper()
		out, err := s.client.ReceiveMessage(s.ctx, &sqs.ReceiveMessageInput{
			QueueUrl: &url, MaxNumberOfMessages: 10, ReceiveRequestAttemptId: &attempt,
			MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll},
		})
		if err != nil {
			s.Fatalf("receive: %v", err)
		}
		return out.Messages
	}
	first := ask("attempt-1")
	if bodies(first) != `["m1"]` {
		s.Fatalf("received %s", bodies(first))
	}
	second := ask("attempt-1")
	if s.known.NoAttemptID {
		return
	}
	if bodies(second) != `["m1"]` || aws.ToString(second[0].ReceiptHandle) != aws.ToString(first[0].ReceiptHandle) {
		s.Fatalf("the same attempt received %s", bodies(second))
	}
	if got := ask("attempt-2"); len(got) != 0 {
		s.Errorf("another attempt received %s", bodies(got))
	}
	s.delete(url, second[0])
	if got := ask("attempt-1"); len(got) != 0 {
		s.Errorf("the attempt received %s after its message was deleted", bodies(got))
	}
}

func redrive(s *suite) {
	dead := s.queue(nil)
	policy := fmt.Sprintf(`{"deadLetterTargetArn":%q,"maxReceiveCount":2}`, s.settings(dead)["QueueArn"])
	url := s.queue(attributes{"VisibilityTimeout": "600", "RedrivePolicy": policy})
	s.send(url, "g", "1", "poison")
	for range 2 {
		s.show(url, s.one(url, "poison"), 0)
	}
	s.send(url, "g", "2", "next")
	s.delete(url, s.one(url, "next")) // its group is free again
	m := s.one(dead, "poison")
	if m.Attributes["MessageGroupId"] != "g" {
		s.Errorf("the dead letter's group is %q", m.Attributes["MessageGroupId"])
	}
}
