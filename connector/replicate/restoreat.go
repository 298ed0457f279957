package replicate

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"cloudsession/shared/cloudstore"
	"cloudsession/shared/envelope"
	"cloudsession/shared/sessionlog"
)

// ErrNoPoint means that a log does not hold the point that was asked for.
var ErrNoPoint = errors.New("the log has no such restore point")

// Point names a point of a session's log: the end of a push. By Epoch and Seq of the push's last row,
// or, where these are 0, the newest one that was durable at Time, by TiDB's clock.
type Point struct {
	Epoch, Seq uint64
	Time       time.Time
}

// ParsePoint reads "<epoch>.<seq>" or a time in RFC 3339.
func ParsePoint(text string) (Point, error) {
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return Point{Time: t}, nil
	}
	epoch, seq, _ := strings.Cut(text, ".")
	var p Point
	var err error
	if p.Epoch, err = strconv.ParseUint(epoch, 10, 64); err == nil {
		p.Seq, err = strconv.ParseUint(seq, 10, 64)
	}
	if err != nil || p.Epoch == 0 || p.Seq == 0 {
		return Point{}, fmt.Errorf("%q is neither <epoch>.<seq> nor a time such as 2026-01-22T10:30:45Z", text)
	}
	return p, nil
}

// String is what ParsePoint reads.
func (p Point) String() string {
	if p.Epoch == 0 {
		return p.Time.UTC().Format(time.RFC3339Nano)
	}
	return fmt.Sprintf("%d.%d", p.Epoch, p.Seq)
}

// RestoreAt is Restore of an older point of the log, for a term that starts safely: nothing behind the
// point is read as data, be it damaged or not, and nothing of it is deleted. MaxPreKeyID covers what
// can be read there all the same. It returns ErrNoPoint, also where nothing to start from is left
// before the point, and what Restore returns.
func RestoreAt(ctx context.Context, store Reader, keys *envelope.Keyring, taken cloudstore.Taken, p Point, path string) (Restored, error) {
	found, err := restoreAt(ctx, restorer{store: store, keys: keys, sessionID: taken.SessionID}, taken, p, path)
	if err != nil {
		return Restored{}, fmt.Errorf("restore session %s at %s: %w", taken.SessionID, p, err)
	}
	return found, nil
}

func restoreAt(ctx context.Context, r restorer, taken cloudstore.Taken, p Point, path string) (Restored, error) {
	var later []fetchedEpoch // newest first; the last one holds the point
	var at *cloudstore.Segment
	err := walk(ctx, r.store, r.sessionID, taken.ParentEpoch, taken.ParentSeq, func(e lineageEpoch) bool {
		later = append(later, fetchedEpoch{lineageEpoch: e})
		at = p.in(e)
		return at == nil && e.Epoch.Epoch > p.Epoch
	})
	switch {
	case err != nil:
		return Restored{}, err
	case at == nil:
		return Restored{}, ErrNoPoint
	}
	past := taken
	past.ParentEpoch, past.ParentSeq, past.ParentTag = at.Epoch, at.Seq, at.Tag
	found, err := r.restore(ctx, past, path)
	if errors.Is(err, sessionlog.ErrNoBase) || err == nil && found.CredentialsOnly {
		return Restored{}, fmt.Errorf("%w: nothing to start from is left before it", ErrNoPoint)
	}
	if err != nil {
		return Restored{}, err
	}
	// What the term goes on from is the end of the lineage, whatever state it starts with.
	found.Cursor = sessionlog.Cursor{Epoch: taken.ParentEpoch, Seq: taken.ParentSeq, Tag: taken.ParentTag}
	for i := range later {
		if err := r.fetchRows(ctx, &later[i], 1); err != nil {
			return Restored{}, err
		}
		found.MaxPreKeyID = max(found.MaxPreKeyID, r.anyPreKeyID(later[i].rows))
	}
	return found, nil
}

// in returns the row of e that the point means, or nil.
func (p Point) in(e lineageEpoch) (at *cloudstore.Segment) {
	for i := 0; i < len(e.heads); i++ {
		if !wholePush(e.heads[i:]) {
			continue
		}
		i += int(e.heads[i].Parts) - 1
		last := e.heads[i]
		switch {
		case p.Epoch == 0 && !last.CreatedAt.After(p.Time), p.Epoch == last.Epoch && p.Seq == last.Seq:
			at = &last
		}
	}
	return at
}

// anyPreKeyID returns the highest prekey id in whatever can be read of an epoch's rows by itself.
func (r *restorer) anyPreKeyID(rows []cloudstore.Segment) (highest uint32) {
	for i, row := range rows {
		if row.Kind.IsData() && row.Part == 1 {
			highest = max(highest, r.strayPush(rows, i, [32]byte{}))
		}
	}
	return highest
}
