package ownership

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"cloudsession/shared/cloudstore"
)

// namesakeRow is a connectors row, on a clock that TiDB and this process share.
type namesakeRow struct {
	Store
	row     cloudstore.Connector
	answers func() error // before each answer; nil: at once
}

func (f *namesakeRow) Connector(context.Context, string) (cloudstore.Connector, error) {
	if f.answers != nil {
		if err := f.answers(); err != nil {
			return cloudstore.Connector{}, err
		}
	}
	return f.row, nil
}

func (f *namesakeRow) BuryNamesake(_ context.Context, _, incarnation string, margin time.Duration) (bool, error) {
	if f.row.Dead || f.row.Incarnation != incarnation || !f.row.LeaseUntil.Before(time.Now().Add(-margin)) {
		return false, nil
	}
	f.row.Dead = true
	return true, nil
}

func TestAwaitNamesake(t *testing.T) {
	long := func(f *namesakeRow) { f.row.LeaseUntil = time.Now().Add(-time.Hour) }
	for name, c := range map[string]struct {
		prepare   func(f *namesakeRow)
		want      error
		not, late time.Duration // it takes longer than not, and no longer than late
	}{
		"it has just renewed and dies": {func(*namesakeRow) {}, nil, LeaseDuration + buryMargin - 1, LeaseDuration + buryMargin + WatchEvery},
		"it is long gone":              {long, nil, LeaseDuration - 1, LeaseDuration + WatchEvery},
		"declared dead already":        {func(f *namesakeRow) { f.row.Dead = true }, nil, -1, 0},
		"it renews": {func(f *namesakeRow) {
			f.answers = func() error { f.row.LeaseUntil = time.Now().Add(LeaseDuration); return nil }
		}, cloudstore.ErrIncarnation, 0, RenewEvery},
		"TiDB comes back, and it renews a moment later": {func(f *namesakeRow) {
			asked := 0
			f.answers = func() error {
				switch asked++; asked {
				case 2: // the outage: an answer that takes its time
					time.Sleep(time.Hour)
				case 6:
					f.row.LeaseUntil = time.Now().Add(LeaseDuration)
				}
				return nil
			}
		}, cloudstore.ErrIncarnation, time.Hour, time.Hour + LeaseDuration},
		"TiDB does not answer": {func(f *namesakeRow) {
			f.answers = func() error { return errDown }
		}, errDown, -1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				f := &namesakeRow{row: cloudstore.Connector{ID: "a", Incarnation: "1", LeaseUntil: began.Add(LeaseDuration)}}
				c.prepare(f)
				err := AwaitNamesake(t.Context(), Options{
					Store: f, Connector: cloudstore.Connector{ID: "a"}, Log: slog.New(slog.DiscardHandler),
					now: func() time.Duration { return time.Since(began) },
				})
				if !errors.Is(err, c.want) || err == nil && !f.row.Dead {
					t.Errorf("%v, dead %v; want %v", err, f.row.Dead, c.want)
				}
				if took := time.Since(began); took <= c.not || took > c.late {
					t.Errorf("it took %s, want more than %s and no more than %s", took, c.not, c.late)
				}
			})
		})
	}
}
