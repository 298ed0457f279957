package e2e

import (
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"cloudsession/shared/cloudstore"
)

// A sync that a stopped connector left behind is for its session once that is open
// again: a moment after the start it isn't yet.
func TestSyncLeftBehindByAStop(t *testing.T) {
	s := newScene(t)
	c := s.paired("c")
	s.talk(c)
	s.must(c.Stop(stopTime))
	store := s.store()
	left, _, err := store.CreateCommand(s.ctx, cloudstore.Command{
		ID: ulid.Make().String(), SessionID: s.session, Kind: cloudstore.CommandSync, ConnectorID: c.ID(),
		RequestedBy: "test", Deadline: time.Now().Add(time.Hour),
	})
	s.must(err)
	s.connectorIn(c.ID(), c.DataDir())
	s.wait("the outcome", func() bool {
		left, err = store.Command(s.ctx, left.ID)
		return err == nil && left.FinishedAt != nil
	})
	if left.State != cloudstore.CommandDone {
		t.Errorf("the sync is %s: %s %s", left.State, left.ErrorCode, left.Error)
	}
}
