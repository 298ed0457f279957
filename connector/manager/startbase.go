package manager

import (
	"context"
	"fmt"
	"time"
)

// baseTime bounds how long a start waits for its base to be durable (O5). It has one of the turns in
// which sessions are opened meanwhile, and some of its lane's memory: one whose base is refused, or is
// more than a push can hold, gives both back and rests before it tries again.
const baseTime = 5 * time.Minute

// flusher is what a start needs of its replication.
type flusher interface {
	Flush(ctx context.Context) error
}

// pushBase returns once the base that a term begins with is durable.
func (m *Manager) pushBase(ctx context.Context, rep flusher) error {
	ctx, cancel := context.WithTimeout(ctx, m.baseTime)
	defer cancel()
	if err := rep.Flush(ctx); err != nil {
		return fmt.Errorf("push the base of the start: %w", err)
	}
	return nil
}
