package manager

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

// refusedBase is a replication whose base never becomes durable.
type refusedBase struct{}

func (refusedBase) Flush(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// A start whose base is refused for good ends by itself: others wait for its turn.
func TestStartWithoutBaseEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if err := pushBase(t.Context(), refusedBase{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a start whose base is refused: %v", err)
		}
	})
}
