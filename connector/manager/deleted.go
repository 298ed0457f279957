package manager

import (
	"context"
	"math/rand/v2"
	"time"
)

// finishEvery is how often a connector looks for rows that came after a DELETE. The
// network has to hold a push up for long to leave any. After a failure it looks again
// in a sixtieth of that.
const finishEvery = time.Hour

// finishDeletes removes what reaches the log of a session after its copy was deleted,
// until ctx ends. Any connector does: the session's own may have gone.
func (m *Manager) finishDeletes(ctx context.Context) error {
	wait := rand.N(m.finishEvery) //nolint:gosec // spreads load, not a secret
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		found, err := m.opt.Store.FinishDeletes(ctx)
		wait = m.finishEvery
		if err != nil {
			wait = m.finishEvery / 60
			m.logUnlessEnding(ctx, "finish deletes", err)
		}
		if found > 0 {
			m.log.InfoContext(ctx, "rows removed that came after the copies of sessions were deleted", "sessions", found)
		}
	}
}
