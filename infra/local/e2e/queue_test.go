package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/oklog/ulid/v2"

	"cloudsession/shared/command"
)

// Messages that are malformed, unknown, late or repeated do no harm, and don't
// stand in the way of real ones.
func TestQueueMessagesThatMeanNothing(t *testing.T) {
	s := newScene(t)
	c := s.paired("c")
	client := queueClient()
	found, err := client.GetQueueUrl(s.ctx, &sqs.GetQueueUrlInput{QueueName: aws.String(command.QueueName("cloudsession", c.ID()))})
	s.must(err)
	send := func(body string) {
		t.Helper()
		_, err := client.SendMessage(s.ctx, &sqs.SendMessageInput{
			QueueUrl: found.QueueUrl, MessageBody: &body,
			MessageGroupId: aws.String("group"), MessageDeduplicationId: aws.String(ulid.Make().String()),
		})
		s.must(err)
	}
	logged := func(text string) int { return strings.Count(c.Logs(), text) }
	done := func(what string) (n int) {
		t.Helper()
		n = int(s.done("sync"))
		s.wait(what, func() bool { return logged("command done") >= n })
		return n
	}
	send("hello")
	send(`{"v":99,"commandId":"x"}`)
	send(strings.Repeat("x", 100_000))
	unknown, err := command.Message{V: command.Version, CommandID: ulid.Make().String(), SessionID: s.session, Kind: command.KindSync}.Encode()
	s.must(err)
	send(string(unknown))

	s.call(http.StatusOK, http.MethodPost, "/sync")
	s.emptyQueue(client, *found.QueueUrl)
	done("the sync")

	// The command just done, announced again as a late duplicate would be.
	late := lastCommand(t, c.Logs())
	again, err := command.Message{V: command.Version, CommandID: late, SessionID: s.session, Kind: command.KindSync, Attempt: 1}.Encode()
	s.must(err)
	send(string(again))
	send(string(again))
	s.call(http.StatusOK, http.MethodPost, "/sync")
	s.emptyQueue(client, *found.QueueUrl) // whatever a message does is done
	synced := done("the sync after the repeated messages")
	s.wait("the malformed messages to be logged", func() bool { return logged("malformed command message dropped") >= 3 })
	s.talk(c)
	if n := logged("malformed command message dropped"); n != 3 {
		t.Errorf("%d malformed messages were logged, want 3", n)
	}
	if n := logged("command done"); n != synced {
		t.Errorf("%d commands were carried out, want %d: a repeated message ran one again", n, synced)
	}
	s.nothingLost(c)
}

// lastCommand is the id of the command that the log names last.
func lastCommand(t *testing.T, logs string) string {
	t.Helper()
	i := strings.LastIndex(logs, "command=")
	if i < 0 || len(logs) < i+34 {
		t.Fatal("the log names no command")
	}
	return logs[i+len("command=") : i+len("command=")+26]
}

// emptyQueue waits until nothing waits in the queue or is being handled.
func (s *scene) emptyQueue(client *sqs.Client, url string) {
	s.t.Helper()
	for {
		out, err := client.GetQueueAttributes(s.ctx, &sqs.GetQueueAttributesInput{QueueUrl: &url, AttributeNames: []types.QueueAttributeName{
			"ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible",
		}})
		s.must(err)
		if out.Attributes["ApproximateNumberOfMessages"] == "0" && out.Attributes["ApproximateNumberOfMessagesNotVisible"] == "0" {
			return
		}
		select {
		case <-s.ctx.Done():
			s.t.Fatalf("messages were left in the queue: %v", out.Attributes)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
