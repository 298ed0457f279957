package replicate

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"cloudsession/shared/cloudstore"
)

// housekeeping is what follows a durable push at leisure: the times that the API shows, and pruning.
// Nobody waits for it and losing some of it in a crash does no harm.
type housekeeping struct {
	mu     sync.Mutex
	touch  map[string]uint64 // sessions pushed since the last Touch, with their epochs
	copy   map[string]bool   // sessions touched since the last CopySynced
	prunes map[string]pruneJob
	wake   chan struct{} // a prune is waiting
}

func (h *housekeeping) init() {
	h.touch, h.copy, h.prunes = map[string]uint64{}, map[string]bool{}, map[string]pruneJob{}
	h.wake = make(chan struct{}, 1)
}

func (h *housekeeping) saved(sessionID string, epoch uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.touch[sessionID] = max(epoch, h.touch[sessionID])
}

// touchAtOnce bounds the sessions in one statement.
const touchAtOnce = 500

// keepTimes sets synced_at of the sessions pushed since it last did, in few statements, and copies it
// into last_synced_at less often: that row holds the credentials and is dear to write.
func (r *Replicator) keepTimes(ctx context.Context) {
	touch, copied := time.NewTicker(r.opt.TouchEvery), time.NewTicker(r.opt.CopyEvery)
	defer touch.Stop()
	defer copied.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-touch.C:
			r.touchAll(ctx)
		case <-copied.C:
			r.copyAll(ctx)
		}
	}
}

func (r *Replicator) touchAll(ctx context.Context) {
	r.house.mu.Lock()
	due := r.house.touch
	r.house.touch = map[string]uint64{}
	r.house.mu.Unlock()
	for ids := range slices.Chunk(slices.Sorted(maps.Keys(due)), touchAtOnce) {
		sessions := make([]cloudstore.SessionEpoch, len(ids))
		for i, id := range ids {
			sessions[i] = cloudstore.SessionEpoch{SessionID: id, Epoch: due[id]}
		}
		err := r.statement(ctx, func(ctx context.Context) error { return r.store.Touch(ctx, sessions) })
		if err != nil {
			r.house.untouched(sessions)
			r.opt.Log.Debug("time of sync not set, trying again", "sessions", len(sessions), "error", err)
			continue
		}
		r.house.touched(ids)
	}
}

func (h *housekeeping) untouched(sessions []cloudstore.SessionEpoch) {
	for _, s := range sessions {
		h.saved(s.SessionID, s.Epoch)
	}
}

func (h *housekeeping) touched(ids []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range ids {
		h.copy[id] = true
	}
}

func (r *Replicator) copyAll(ctx context.Context) {
	r.house.mu.Lock()
	due := r.house.copy
	r.house.copy = map[string]bool{}
	r.house.mu.Unlock()
	for ids := range slices.Chunk(slices.Sorted(maps.Keys(due)), touchAtOnce) {
		err := r.statement(ctx, func(ctx context.Context) error { return r.store.CopySynced(ctx, ids) })
		if err != nil {
			r.house.touched(ids)
			r.opt.Log.Debug("time of sync not copied, trying again", "sessions", len(ids), "error", err)
		}
	}
}

// statement runs one call of the store under the statement timeout.
func (r *Replicator) statement(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, r.opt.StatementTimeout)
	defer cancel()
	return do(ctx)
}

// pruneLater queues a prune; a later one of the same session replaces it.
func (r *Replicator) pruneLater(job pruneJob) {
	r.house.mu.Lock()
	r.house.prunes[job.sessionID] = job
	r.house.mu.Unlock()
	select {
	case r.house.wake <- struct{}{}:
	default:
	}
}

// keepPruned prunes one session after the other. A prune that fails is left to the next base.
func (r *Replicator) keepPruned(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.house.wake:
		}
		r.house.mu.Lock()
		jobs := r.house.prunes
		r.house.prunes = map[string]pruneJob{}
		r.house.mu.Unlock()
		for _, job := range jobs {
			if ctx.Err() != nil {
				return
			}
			rows, err := r.prune(ctx, job)
			switch {
			case errors.Is(err, ErrFenced): // the next owner prunes
			case err != nil && ctx.Err() != nil: // the process ends: the next base prunes
			case err != nil:
				r.opt.Log.Warn("old restore points not pruned", "session", job.sessionID, "error", err)
			case rows > 0:
				r.opt.Log.Debug("old restore points pruned", "session", job.sessionID, "rows", rows)
			}
		}
	}
}
