package sqsemu_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"cloudsession/infra/local/sqsconformance"
	"cloudsession/infra/local/sqsemu"
)

// client makes a real SDK client for a server at url.
func client(url string, transport sqs.HTTPClient) *sqs.Client {
	return sqs.New(sqs.Options{
		Region: "us-east-1", BaseEndpoint: &url, HTTPClient: transport,
		Credentials: credentials.NewStaticCredentialsProvider("id", "secret", ""),
	})
}

func serve(t *testing.T) (*sqsemu.Server, *sqs.Client) {
	t.Helper()
	var s sqsemu.Server
	if _, err := s.Listen(t.Context(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &s, client(s.URL(), &http.Client{Transport: transport})
}

func TestConformance(t *testing.T) {
	_, c := serve(t)
	sqsconformance.Run(t, sqsconformance.Target{Client: c})
}

// direct calls the handler without a network, so that a test's clock may be a fake one.
type direct struct{ s *sqsemu.Server }

func (d direct) Do(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	r.Host = r.URL.Host
	d.s.ServeHTTP(w, r)
	return w.Result(), nil
}

// TestPollIsWokenAtOnce runs where a second takes no time: waits are exact
// there, so a wake that is forgotten shows.
func TestPollIsWokenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s sqsemu.Server
		c := client("http://emulator", direct{&s})
		url := newQueue(t, c)
		poll := func(act func(), want string, after time.Duration) {
			t.Helper()
			began := time.Now()
			woken := make(chan string)
			go func() { woken <- receive(t, c, url, 20) }()
			synctest.Wait() // the poll is waiting
			act()
			if got := <-woken; got != want || time.Since(began) != after {
				t.Errorf("received %s after %v, want %s after %v", got, time.Since(began), want, after)
			}
		}
		poll(func() { send(t, c, url, "one", "1") }, "[one]", 0)
		send(t, c, url, "two", "2")
		poll(func() {}, "[]", 20*time.Second)    // its group is locked
		poll(func() {}, "[one]", 10*time.Second) // its 30 seconds are over
		poll(func() {
			if _, err := c.PurgeQueue(t.Context(), &sqs.PurgeQueueInput{QueueUrl: &url}); err != nil {
				t.Error(err)
			}
			send(t, c, url, "three", "3")
		}, "[three]", 0)
	})
}

// TestFreedGroupWakesPoll is TestPollIsWokenAtOnce for a delete.
func TestFreedGroupWakesPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s sqsemu.Server
		c := client("http://emulator", direct{&s})
		url := newQueue(t, c)
		send(t, c, url, "one", "1")
		send(t, c, url, "two", "2")
		got, err := c.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &url})
		if err != nil || len(got.Messages) != 1 {
			t.Fatalf("received %v, %v", got, err)
		}
		began := time.Now()
		woken := make(chan string)
		go func() { woken <- receive(t, c, url, 20) }()
		synctest.Wait()
		if _, err := c.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: got.Messages[0].ReceiptHandle}); err != nil {
			t.Fatal(err)
		}
		if got := <-woken; got != "[two]" || time.Since(began) != 0 {
			t.Errorf("received %s after %v", got, time.Since(began))
		}
	})
}

func TestDeduplicationEndsAfterFiveMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s sqsemu.Server
		c := client("http://emulator", direct{&s})
		url := newQueue(t, c)
		send(t, c, url, "m", "same")
		if got := receive(t, c, url, 0); got != "[m]" {
			t.Fatalf("received %s", got)
		}
		time.Sleep(5*time.Minute - time.Second)
		send(t, c, url, "m", "same")
		if got := count(t, c, url); got != "1" {
			t.Errorf("%s messages before the window's end, want 1", got)
		}
		time.Sleep(time.Second)
		send(t, c, url, "m", "same")
		if got := count(t, c, url); got != "2" {
			t.Errorf("%s messages after the window, want 2", got)
		}
	})
}

func TestNameOfADeletedQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s sqsemu.Server
		c := client("http://emulator", direct{&s})
		create := func() error {
			_, err := c.CreateQueue(t.Context(), &sqs.CreateQueueInput{
				QueueName: aws.String("q.fifo"), Attributes: map[string]string{"FifoQueue": "true"},
			})
			return err
		}
		remove := func() {
			t.Helper()
			if _, err := c.DeleteQueue(t.Context(), &sqs.DeleteQueueInput{QueueUrl: aws.String("http://emulator/q.fifo")}); err != nil {
				t.Fatal(err)
			}
		}
		for _, wait := range []time.Duration{time.Minute, 2 * time.Second} {
			if wait != time.Minute {
				s.SetNameTaken(wait)
			}
			if err := create(); err != nil {
				t.Fatal(err)
			}
			remove()
			time.Sleep(wait - time.Second)
			if _, ok := errors.AsType[*types.QueueDeletedRecently](create()); !ok {
				t.Errorf("the name is free again within %v", wait)
			}
			time.Sleep(time.Second)
			if err := create(); err != nil {
				t.Errorf("after %v: %v", wait, err)
			}
			remove()
			time.Sleep(wait)
		}
	})
}

func TestRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s sqsemu.Server
		c := client("http://emulator", direct{&s})
		url := newQueue(t, c)
		send(t, c, url, "m", "1")
		time.Sleep(4 * 24 * time.Hour)
		if got := receive(t, c, url, 0); got != "[]" {
			t.Errorf("received %s after the retention period", got)
		}
	})
}

// TestLostAnswer: the SDK repeats a receive whose answer was cut off, and gets
// the same message, not an empty queue.
func TestLostAnswer(t *testing.T) {
	s, c := serve(t)
	url := newQueue(t, c)
	send(t, c, url, "m", "1")
	var lost atomic.Int32
	s.SetFault(func(operation string) sqsemu.Fault {
		if operation == "ReceiveMessage" && lost.Add(1) == 1 {
			return sqsemu.LoseAnswer
		}
		return sqsemu.NoFault
	})
	if got := receive(t, c, url, 0); got != "[m]" || lost.Load() != 2 {
		t.Errorf("received %s in %d calls", got, lost.Load())
	}
}

func TestRefuse(t *testing.T) {
	s, c := serve(t)
	url := newQueue(t, c)
	s.SetFault(func(string) sqsemu.Fault { return sqsemu.Refuse })
	_, err := c.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &url}, func(o *sqs.Options) { o.RetryMaxAttempts = 1 })
	if err == nil {
		t.Error("a refused call succeeded")
	}
}

// TestCloseEndsPolls: nothing waits for a long poll's end, and the queue is
// there again after the next Listen.
func TestCloseEndsPolls(t *testing.T) {
	s, c := serve(t)
	url := newQueue(t, c)
	polling := make(chan struct{})
	s.SetFault(func(string) sqsemu.Fault { close(polling); return sqsemu.NoFault })
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		// Cut off or answered with nothing: either may be first.
		out, err := c.ReceiveMessage(context.Background(), &sqs.ReceiveMessageInput{QueueUrl: &url, WaitTimeSeconds: 20}, func(o *sqs.Options) { o.RetryMaxAttempts = 1 })
		if err == nil && len(out.Messages) > 0 {
			t.Errorf("a closed server sent %d messages", len(out.Messages))
		}
	}()
	<-polling
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(2 * time.Minute):
		t.Fatal("the poll went on after Close")
	}
	s.SetFault(nil)
	if _, err := s.Listen(t.Context(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	found := client(s.URL(), &http.Client{Transport: &http.Transport{DisableKeepAlives: true}})
	if _, err := found.GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{QueueName: aws.String("q.fifo")}); err != nil {
		t.Errorf("after listening again: %v", err)
	}
}

func TestUnsignedAndUnknown(t *testing.T) {
	s, _ := serve(t)
	for target, want := range map[string]int{"AmazonSQS.ListQueues": http.StatusForbidden, "AmazonSQS.TagQueue": http.StatusBadRequest, "": http.StatusBadRequest} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL(), http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Amz-Target", target)
		r.Close = true
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(resp.Body.Close()); err != nil || resp.StatusCode != want {
			t.Errorf("%q without a signature: %s, want %d", target, resp.Status, want)
		}
	}
}

func newQueue(t *testing.T, c *sqs.Client) string {
	t.Helper()
	made, err := c.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("q.fifo"), Attributes: map[string]string{"FifoQueue": "true"}})
	if err != nil {
		t.Fatal(err)
	}
	return *made.QueueUrl
}

func send(t *testing.T, c *sqs.Client, url, body, dedup string) {
	t.Helper()
	if _, err := c.SendMessage(t.Context(), &sqs.SendMessageInput{
		QueueUrl: &url, MessageBody: &body, MessageGroupId: aws.String("g"), MessageDeduplicationId: &dedup,
	}); err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, c *sqs.Client, url string, wait int32) string {
	t.Helper()
	out, err := c.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{
		QueueUrl: &url, WaitTimeSeconds: wait, ReceiveRequestAttemptId: aws.String(rand.Text()),
	})
	if err != nil {
		t.Error(err)
		return ""
	}
	got := []string{}
	for _, m := range out.Messages {
		got = append(got, *m.Body)
	}
	return fmt.Sprint(got)
}

// count is how many messages the queue holds, hidden ones included.
func count(t *testing.T, c *sqs.Client, url string) string {
	t.Helper()
	out, err := c.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: &url, AttributeNames: []sqsTypes{"All"}})
	if err != nil {
		t.Fatal(err)
	}
	a, b := out.Attributes["ApproximateNumberOfMessages"], out.Attributes["ApproximateNumberOfMessagesNotVisible"]
	if b == "0" {
		return a
	}
	return fmt.Sprint(atoi(a) + atoi(b))
}

type sqsTypes = types.QueueAttributeName

func atoi(s string) (n int) {
	_, _ = fmt.Sscan(s, &n)
	return n
}
