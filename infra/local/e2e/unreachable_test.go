package e2e

import (
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/oklog/ulid/v2"

	"cloudsession/infra/local/faultproxy"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/command"
)

// However the link to TiDB fails, a live session sends and receives, and comes
// back by itself when its own socket drops meanwhile; afterwards everything
// drains and the last sync is newer.
func TestDatabaseLinkFails(t *testing.T) {
	for name, fault := range map[string]faultproxy.Fault{
		"cut":                   {Cut: true},
		"half open":             {Swallow: faultproxy.Both},
		"answers lost":          {Swallow: faultproxy.Answers},
		"dies in mid statement": {CutAfter: 700},
		"late":                  {Hold: faultproxy.Both},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.ownDatabase() // a connector that is cut off for long enough is dead to the others
			db, env := s.faultyDatabase()
			c := s.paired("c", env...)
			s.talk(c)
			s.waitPushed(c)
			before := s.lastSynced()
			for !s.reconnectsDuring(db, fault, c) {
				db.Set(faultproxy.Fault{})
				s.must(c.WaitState(s.ctx, s.session, "connected"))
				s.waitPushed(c)
			}
			s.talk(c)
			if mine := s.mine(c); !mine.Pending {
				t.Errorf("%+v: want changes waiting", mine)
			}
			db.Set(faultproxy.Fault{})
			s.waitPushed(c)
			for !s.lastSynced().After(before) {
				s.pause()
			}
			s.talk(c)
			s.waitPushed(c)
			s.nothingLost(c)
			s.whole(c)
		})
	}
}

// reconnectsDuring breaks the link to TiDB and then the session's socket, and waits
// until the session is connected again. It reports whether it was while the fault
// lasted; else a slow machine has let the lease run out.
func (s *scene) reconnectsDuring(db *faultproxy.Proxy, fault faultproxy.Fault, c *rigConnector) bool {
	s.t.Helper()
	db.Set(fault)
	s.talk(c)
	device := s.device()
	logins := world.WhatsApp.Device(device).Logins
	world.WhatsApp.Faults().Cut(&device)
	again := func() bool { return world.WhatsApp.Device(device).Logins > logins }
	s.wait("the session to connect again", func() bool {
		return again() || strings.Contains(s.mine(c).Detail, "lease has run out")
	})
	return again()
}

// A slow link delays the copy, not the session.
func TestSlowDatabaseLink(t *testing.T) {
	s := newScene(t)
	db, env := s.faultyDatabase()
	c := s.paired("c", env...)
	db.Set(faultproxy.Fault{Latency: 150 * time.Millisecond, Jitter: 100 * time.Millisecond, BytesPerSecond: 64 << 10})
	for range 3 {
		s.talk(c)
	}
	s.waitPushed(c)
	db.Set(faultproxy.Fault{})
	s.nothingLost(c)
	s.whole(c)
}

// The database's engine is killed and started again: the same.
func TestDatabaseKilled(t *testing.T) {
	s := newScene(t)
	s.ownDatabase() // whose clock has microseconds; the API's times are whole seconds
	c := s.paired("c", protects)
	s.talk(c)
	s.waitPushed(c)
	before, epoch := s.lastSynced(), s.mine(c).Epoch
	s.must(world.Stack.KillDatabase())
	s.talk(c)
	s.must(world.Stack.StartDatabase(s.ctx))
	s.talk(c)
	s.waitPushed(c)
	for !s.lastSynced().After(before) {
		s.pause()
	}
	if mine := s.mine(c); mine.Epoch != epoch {
		t.Errorf("at epoch %d after the crash of the database, was %d", mine.Epoch, epoch)
	}
	s.nothingLost(c)
	s.whole(c)
}

// The queue goes away and comes back, and is deleted under the connector:
// commands come by the heartbeat meanwhile, and by the queue again afterwards.
func TestQueueComesBack(t *testing.T) {
	s := newScene(t)
	p, err := faultproxy.Start(strings.TrimPrefix(world.Stack.SQSEndpoint(), "http://"))
	s.must(err)
	t.Cleanup(func() { _ = p.Close() })
	c := s.paired("c", "AWS_ENDPOINT_URL_SQS=http://"+p.Addr())
	client := queueClient()
	s.queueWorks(client, c)

	p.Set(faultproxy.Fault{Cut: true})
	s.waitLog(c, "commands come by the heartbeat only")
	s.call(http.StatusOK, http.MethodPost, "/sync")
	p.Set(faultproxy.Fault{})
	s.queueWorks(client, c)

	_, err = client.DeleteQueue(s.ctx, &sqs.DeleteQueueInput{QueueUrl: s.queueURL(client, c)})
	s.must(err)
	s.call(http.StatusOK, http.MethodPost, "/sync")
	s.queueWorks(client, c)
	s.talk(c)
	s.nothingLost(c)
}

// A queue that could not be announced when it was made is announced later.
func TestQueueAnnouncedLater(t *testing.T) {
	s := newScene(t)
	var refused atomic.Int32
	env := s.databaseWith(func(st faultproxy.Statement) faultproxy.Verdict {
		if strings.HasPrefix(st.Text, "UPDATE connectors SET queue_url") && refused.Add(1) <= 2 {
			return faultproxy.Verdict{Action: faultproxy.FailBefore}
		}
		return faultproxy.Verdict{}
	})
	c := s.paired("c", env...)
	for url := ""; url == ""; s.pause() {
		s.must(s.database().QueryRowContext(s.ctx, "SELECT queue_url FROM connectors WHERE connector_id = ?", c.ID()).Scan(&url))
	}
	if n := refused.Load(); n < 3 {
		t.Errorf("announced %d times", n)
	}
}

// queueClient is the SDK's own client, for what connectors don't do with queues.
func queueClient() *sqs.Client {
	return sqs.New(sqs.Options{
		Region: "local", BaseEndpoint: aws.String(world.Stack.SQSEndpoint()),
		Credentials: credentials.NewStaticCredentialsProvider("local", "local", ""),
	})
}

// queueWorks waits until the connector's queue is there, and takes a message
// from it, which nothing but the queue could bring.
func (s *scene) queueWorks(client *sqs.Client, c *rigConnector) {
	s.t.Helper()
	url := s.queueURL(client, c)
	body, err := command.Message{V: command.Version, CommandID: ulid.Make().String(), SessionID: s.session, Kind: command.KindSync}.Encode()
	s.must(err)
	_, err = client.SendMessage(s.ctx, &sqs.SendMessageInput{
		QueueUrl: url, MessageBody: aws.String(string(body)),
		MessageGroupId: aws.String("group"), MessageDeduplicationId: aws.String(ulid.Make().String()),
	})
	s.must(err)
	s.emptyQueue(client, *url)
}

func (s *scene) queueURL(client *sqs.Client, c *rigConnector) *string {
	s.t.Helper()
	for {
		found, err := client.GetQueueUrl(s.ctx, &sqs.GetQueueUrlInput{QueueName: aws.String(command.QueueName("cloudsession", c.ID()))})
		if err == nil {
			return found.QueueUrl
		}
		s.pause()
	}
}

// lastSynced is the time that the API would show, with its microseconds.
func (s *scene) lastSynced() time.Time {
	s.t.Helper()
	store, err := cloudstore.Open(s.storeConfig())
	s.must(err)
	st, err := store.SessionStatus(s.ctx, s.session)
	s.must(errors.Join(err, store.Close()))
	return *st.LastSyncedAt
}

// whole checks that the session's copy in the cloud verifies.
func (s *scene) whole(c *rigConnector) {
	s.t.Helper()
	if out, err := c.Command(s.ctx, "inspect", "verify", s.session).CombinedOutput(); err != nil {
		s.t.Errorf("inspect verify: %v\n%s", err, out)
	}
}
