package replicate

import (
	"context"
	"fmt"
	"slices"
	"time"

	"cloudsession/shared/cloudstore"
)

// pruneJob asks to keep at most keep restore points of a session.
type pruneJob struct {
	sessionID string
	epoch     uint64
	keep      int
}

// restorePoint is the first row of a complete base.
type restorePoint struct {
	epoch, seq uint64
	at         time.Time // TiDB's clock
}

// prune deletes what lies before the oldest restore point to keep (L2). It does nothing until the
// job's own term has a complete base. One at a time: another one's boundary must not go meanwhile.
func (r *Replicator) prune(ctx context.Context, job pruneJob) (int64, error) {
	r.pruning.Lock()
	defer r.pruning.Unlock()
	points, err := r.restorePoints(ctx, job)
	if err != nil {
		return 0, err
	}
	if len(points) == 0 || points[0].epoch != job.epoch {
		return 0, nil
	}
	oldest := points[0]
	for _, p := range points[1:min(len(points), job.keep)] {
		if points[0].at.Sub(p.at) > r.opt.KeepFor {
			break
		}
		oldest = p
	}
	var rows int64
	err = r.statement(ctx, func(ctx context.Context) error {
		rows, err = r.store.Prune(ctx, job.sessionID, job.epoch, oldest.epoch, oldest.seq)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("prune session %s before %d/%d: %w", job.sessionID, oldest.epoch, oldest.seq, err)
	}
	return rows, nil
}

// restorePoints returns the complete bases of the lineage, newest first: job.keep of them are enough.
func (r *Replicator) restorePoints(ctx context.Context, job pruneJob) ([]restorePoint, error) {
	var points []restorePoint
	err := walk(ctx, r.store, job.sessionID, job.epoch, allRows, func(e lineageEpoch) bool {
		for _, i := range slices.Backward(e.completeBases()) {
			first := e.heads[i]
			points = append(points, restorePoint{first.Epoch, first.Seq, first.CreatedAt})
		}
		return len(points) < job.keep
	})
	if err != nil {
		return nil, fmt.Errorf("look for restore points of session %s: %w", job.sessionID, err)
	}
	return points, nil
}

// lineageEpoch is an epoch of a lineage with the heads of its rows, up to where its child says.
type lineageEpoch struct {
	cloudstore.Epoch
	limit uint64 // seq of the last row that counts
	heads []cloudstore.Segment
	all   []cloudstore.Segment // and those beyond the limit
}

// completeBases returns the indexes in heads of the first parts of the bases that are whole.
func (e lineageEpoch) completeBases() []int {
	var found []int
	for i, h := range e.heads {
		if h.Kind == cloudstore.KindBase && h.Part == 1 && wholePush(e.heads[i:]) {
			found = append(found, i)
		}
	}
	return found
}

// pruned reports whether rows of the epoch are gone, so that nothing is left of those before it.
func (e lineageEpoch) pruned() bool {
	if len(e.heads) == 0 {
		return e.limit != allRows && e.limit > 0
	}
	return e.heads[0].Seq > 1
}

// wholePush reports whether rows begins with all parts of one push.
func wholePush(rows []cloudstore.Segment) bool {
	parts := int(rows[0].Parts)
	if parts == 0 || len(rows) < parts {
		return false
	}
	for i, row := range rows[:parts] {
		if row.Kind != rows[0].Kind || row.Seq != rows[0].Seq+uint64(i) || int(row.Part) != i+1 || int(row.Parts) != parts {
			return false
		}
	}
	return true
}

// allRows is the limit of an epoch without a child.
const allRows = ^uint64(0)

// walk visits the epochs of a lineage from epoch, of which rows up to limit count, back along the
// parents, until visit returns false. Epochs that left no rows are not part of it.
func walk(ctx context.Context, store Reader, sessionID string, epoch, limit uint64, visit func(lineageEpoch) bool) error {
	if epoch == 0 {
		return nil
	}
	epochs, err := store.Lineage(ctx, sessionID, epoch)
	if err != nil {
		return fmt.Errorf("read lineage: %w", err)
	}
	for _, e := range epochs {
		if e.Epoch != epoch {
			return fmt.Errorf("read lineage: epoch %d in place of %d", e.Epoch, epoch)
		}
		all, err := store.SegmentHeads(ctx, sessionID, e.Epoch)
		if err != nil {
			return fmt.Errorf("read heads of epoch %d: %w", e.Epoch, err)
		}
		le := lineageEpoch{Epoch: e, limit: limit, all: all}
		for _, h := range all {
			if h.Seq > limit || h.Kind.IsTerminator() {
				break
			}
			le.heads = append(le.heads, h)
		}
		if !visit(le) || e.ParentEpoch == 0 || le.pruned() {
			return nil
		}
		epoch, limit = e.ParentEpoch, e.ParentSeq
	}
	return fmt.Errorf("read lineage: epoch %d is missing", epoch)
}
