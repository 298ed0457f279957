package e2e

import (
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"cloudsession/shared/cloudstore"
	"cloudsession/shared/command"
)

// A connector that died is stale until it is back, or until its operator says
// that it never will be; one that was stopped in order is not.
func TestForgetAConnector(t *testing.T) {
	s := newScene(t)
	s.ownDatabase()
	stays := s.connector("stays")
	gone := s.connector("gone")
	stops := s.connector("stops")
	store, err := cloudstore.Open(s.storeConfig())
	s.must(err)
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	stale := func(live, stale int) func() bool {
		return func() bool {
			v, err := store.Vitals(s.ctx)
			return err == nil && v.LiveConnectors == live && v.StaleConnectors == stale
		}
	}
	s.wait("three live connectors", stale(3, 0))
	s.must(stops.Stop(stopTime))
	s.wait("the one that was stopped to be none of them", stale(2, 0))
	s.must(gone.Kill9())
	s.wait("the other to be stale", stale(1, 1))
	s.cli(stays, 1, "is live: stop it first", "forget", stays.ID())
	s.cli(stays, 1, `no connector "nobody" has ever run`, "forget", "nobody")
	s.cli(stays, 0, gone.ID()+" is forgotten", "forget", gone.ID())
	s.wait("nobody to be stale", stale(1, 0))

	// Buried meanwhile or not: whoever comes back is watched again.
	back := s.connectorIn(gone.ID(), t.TempDir())
	s.wait("it to be live", stale(2, 0))
	s.must(back.Kill9())
	s.wait("it to be stale again", stale(1, 1))
}

// Who is forgotten loses the queue of that name, and nobody else's, whatever the
// row says. A connector that comes back all the same makes its queue anew as soon
// as SQS lets it.
func TestForgetRemovesTheQueue(t *testing.T) {
	s := newScene(t)
	s.ownDatabase()
	client := queueClient()
	stays, gone := s.connector("stays"), s.connector("gone")
	theirs := *s.queueURL(client, stays)
	s.queueURL(client, gone) // it is made
	s.must(gone.Stop(stopTime))
	s.update("UPDATE connectors SET queue_url = ? WHERE connector_id = ?", theirs, gone.ID())

	queues := world.Stack.Queue()
	queues.SetNameTaken(time.Hour) // however slow this machine is
	t.Cleanup(func() { queues.SetNameTaken(nameTaken) })
	name := command.QueueName("cloudsession", gone.ID())
	s.cli(stays, 0, "its queue "+name+" is removed", "forget", gone.ID())
	_, err := client.GetQueueUrl(s.ctx, &sqs.GetQueueUrlInput{QueueName: &name})
	if _, removed := errors.AsType[*types.QueueDoesNotExist](err); !removed {
		t.Errorf("queue of who was forgotten: %v", err)
	}
	s.cli(stays, 0, "it has no queue "+name, "forget", gone.ID())
	s.queueWorks(client, stays)

	back := s.connectorIn(gone.ID(), t.TempDir())
	s.waitLog(back, "QueueDeletedRecently")
	queues.SetNameTaken(nameTaken)
	s.queueWorks(client, back)
}

// A queue that can't be removed is said, and the connector is forgotten all the same.
func TestForgetWithoutTheQueue(t *testing.T) {
	s := newScene(t)
	s.ownDatabase()
	c := s.connector("c", "AWS_ENDPOINT_URL_SQS=http://127.0.0.1:1")
	s.must(c.Stop(stopTime))
	s.cli(c, 1, "is forgotten, but its queue stays", "forget", c.ID())
}
