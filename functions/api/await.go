package api

import (
	"context"
	"time"

	"cloudsession/shared/cloudstore"
)

// A command usually takes a few hundred milliseconds; one that takes seconds
// does not gain from being watched closely, and every look costs.
const (
	firstLook   = 25 * time.Millisecond
	longestLook = 400 * time.Millisecond
)

// await looks at the command's row until it is finished or the time is up, and
// returns the row as last seen. A look that fails is no answer, and the next
// one may succeed: the row stands either way.
func (h *Handler) await(r *request, c cloudstore.Command) cloudstore.Command {
	ctx, cancel := context.WithDeadline(r.Context(), h.waitUntil(r.Context()))
	defer cancel()
	failures := 0
	for delay := firstLook; !finished(c); delay = min(delay*3/2, longestLook) {
		if !sleep(ctx, delay) {
			break
		}
		row, err := h.commands.Command(ctx, c.ID)
		if err == nil {
			c = row
			continue
		}
		if failures++; failures == 1 && ctx.Err() == nil {
			h.log.WarnContext(ctx, "look at command", "request_id", r.id, "command", c.ID, "error", err)
		}
	}
	return c
}

// waitUntil is when waiting ends: after the configured wait, and before the
// function is killed.
func (h *Handler) waitUntil(ctx context.Context) time.Time {
	end := time.Now().Add(h.wait)
	if d, ok := ctx.Deadline(); ok && d.Add(-deadlineMargin).Before(end) {
		return d.Add(-deadlineMargin)
	}
	return end
}

func finished(c cloudstore.Command) bool {
	return c.State == cloudstore.CommandDone || c.State == cloudstore.CommandFailed || c.State == cloudstore.CommandExpired
}

// sleep waits for d and reports whether ctx is still good then.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
