package replicate

import (
	"context"
	"database/sql/driver"
	"fmt"
	"sync"

	"cloudsession/shared/cloudstore"
)

// fault is what happens to one call of the store.
type fault int

const (
	fine          fault = iota
	lost                // fails, nothing is written
	lostPersisted       // fails, and is written all the same
)

// faulty passes calls on to a cloud and spoils those that its hook picks.
type faulty struct {
	cloud

	mu   sync.Mutex
	hook func(ctx context.Context, op string, ids []string) fault // nil: all is well
	ops  []string                                                 // every call so far
}

// set replaces the hook. It runs outside of locks and may block.
func (f *faulty) set(hook func(ctx context.Context, op string, ids []string) fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hook = hook
}

func (f *faulty) calls() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.ops...)
}

// errLost looks like a connection that broke.
func errLost(op string) error { return fmt.Errorf("%s: %w", op, driver.ErrBadConn) }

// spoil runs do as the hook wants it.
func (f *faulty) spoil(ctx context.Context, op string, ids []string, do func() error) error {
	f.mu.Lock()
	hook := f.hook
	f.ops = append(f.ops, op)
	f.mu.Unlock()
	what := fine
	if hook != nil {
		what = hook(ctx, op, ids)
	}
	if what == lost {
		return errLost(op)
	}
	err := do()
	if what == lostPersisted {
		return errLost(op)
	}
	return err
}

func (f *faulty) AppendSegments(ctx context.Context, segs []cloudstore.Segment) (o []cloudstore.Outcome, err error) {
	var ids []string
	op := "append"
	for _, s := range segs {
		ids = append(ids, s.SessionID)
		if s.Kind == cloudstore.KindSeal {
			op = "seal"
		}
	}
	err = f.spoil(ctx, op, ids, func() error {
		o, err = f.cloud.AppendSegments(ctx, segs)
		return err
	})
	if err != nil {
		return nil, err
	}
	return o, nil
}

func (f *faulty) AppendFirstBase(ctx context.Context, last cloudstore.Segment, c cloudstore.Credentials) (o cloudstore.Outcome, err error) {
	err = f.spoil(ctx, "firstbase", []string{last.SessionID}, func() error {
		o, err = f.cloud.AppendFirstBase(ctx, last, c)
		return err
	})
	if err != nil {
		return cloudstore.Absent, err
	}
	return o, nil
}

func (f *faulty) PutCredentials(ctx context.Context, c cloudstore.Credentials) error {
	return f.spoil(ctx, "credentials", []string{c.SessionID}, func() error { return f.cloud.PutCredentials(ctx, c) })
}

func (f *faulty) ForgetParent(ctx context.Context, id string, epoch uint64) error {
	return f.spoil(ctx, "forget", []string{id}, func() error { return f.cloud.ForgetParent(ctx, id, epoch) })
}

func (f *faulty) Prune(ctx context.Context, id string, epoch, beforeEpoch, beforeSeq uint64) (n int64, err error) {
	err = f.spoil(ctx, "prune", []string{id}, func() error {
		n, err = f.cloud.Prune(ctx, id, epoch, beforeEpoch, beforeSeq)
		return err
	})
	return n, err
}

func (f *faulty) Owner(ctx context.Context, id string) (o cloudstore.Owner, err error) {
	err = f.spoil(ctx, "owner", []string{id}, func() error {
		o, err = f.cloud.Owner(ctx, id)
		return err
	})
	return o, err
}

func (f *faulty) Lineage(ctx context.Context, id string, epoch uint64) (e []cloudstore.Epoch, err error) {
	err = f.spoil(ctx, "lineage", []string{id}, func() error {
		e, err = f.cloud.Lineage(ctx, id, epoch)
		return err
	})
	return e, err
}

func (f *faulty) SegmentHeads(ctx context.Context, id string, epoch uint64) (s []cloudstore.Segment, err error) {
	err = f.spoil(ctx, "heads", []string{id}, func() error {
		s, err = f.cloud.SegmentHeads(ctx, id, epoch)
		return err
	})
	return s, err
}

func (f *faulty) Segments(ctx context.Context, id string, epoch, from, to uint64) (s []cloudstore.Segment, err error) {
	err = f.spoil(ctx, "segments", []string{id}, func() error {
		s, err = f.cloud.Segments(ctx, id, epoch, from, to)
		return err
	})
	return s, err
}

func (f *faulty) Credentials(ctx context.Context, id string) (c cloudstore.Credentials, err error) {
	err = f.spoil(ctx, "readcredentials", []string{id}, func() error {
		c, err = f.cloud.Credentials(ctx, id)
		return err
	})
	return c, err
}
