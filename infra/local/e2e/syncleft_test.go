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
	order := func() string {
		t.Helper()
		left, _, err := store.CreateCommand(s.ctx, cloudstore.Command{
			ID: ulid.Make().String(), SessionID: s.session, Kind: cloudstore.CommandSync, ConnectorID: c.ID(),
			RequestedBy: "test", Deadline: time.Now().Add(time.Hour),
		})
		s.must(err)
		return left.ID
	}
	outcome := func(id string) (left cloudstore.Command) {
		t.Helper()
		s.wait("the outcome", func() (finished bool) {
			var err error
			left, err = store.Command(s.ctx, id)
			return err == nil && left.FinishedAt != nil
		})
		return left
	}
	id := order()
	again := s.connectorIn(c.ID(), c.DataDir())
	left := outcome(id)
	if left.ErrorCode == "session_not_open" { // so slow is this machine that the sync didn't wait for it
		s.must(again.WaitState(s.ctx, s.session, "connected"))
		left = outcome(order())
	}
	if left.State != cloudstore.CommandDone {
		t.Errorf("the sync is %s: %s %s", left.State, left.ErrorCode, left.Error)
	}
}
